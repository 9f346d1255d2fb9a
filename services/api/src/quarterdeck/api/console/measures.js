/** Numbers for people: durations, sizes, counts. */

const MINUTE_S = 60;
const HOUR_S = 3600;
const BYTES_UNITS = ["B", "kB", "MB", "GB"];

/** 850 → "0.8 s", 75_000 → "1:15", 3_725_000 → "1:02:05". */
export function duration(ms) {
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < MINUTE_S) return `${(Math.floor(seconds * 10) / 10).toFixed(1)} s`;
  const two = (number) => String(Math.floor(number)).padStart(2, "0");
  const minutes = `${Math.floor((seconds % HOUR_S) / MINUTE_S)}`;
  if (seconds < HOUR_S) return `${minutes}:${two(seconds % MINUTE_S)}`;
  return `${Math.floor(seconds / HOUR_S)}:${two(minutes)}:${two(seconds % MINUTE_S)}`;
}

/** How long ago, roughly. */
export function ago(atMs, nowMs) {
  const seconds = Math.max(0, nowMs - atMs) / 1000;
  if (seconds < MINUTE_S) return "just now";
  if (seconds < HOUR_S) return `${Math.floor(seconds / MINUTE_S)} min ago`;
  if (seconds < 24 * HOUR_S) return `${Math.floor(seconds / HOUR_S)} h ago`;
  return new Date(atMs).toLocaleDateString();
}

/** 1_234_567 → "1.2 MB". Powers of 1000. */
export function size(bytes) {
  let scaled = bytes;
  let unit = 0;
  while (scaled >= 1000 && unit < BYTES_UNITS.length - 1) {
    scaled /= 1000;
    unit += 1;
  }
  return `${unit === 0 || scaled >= 100 ? Math.round(scaled) : scaled.toFixed(1)} ${BYTES_UNITS[unit]}`;
}

/** 1234 → "1,234". */
export const amount = (number) => number.toLocaleString("en");

/** (1, "machine") → "1 machine", (4, "machine") → "4 machines". */
export const plural = (number, noun) => `${amount(number)} ${noun}${number === 1 ? "" : "s"}`;
