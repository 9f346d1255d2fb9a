/**
 * Follows an event stream to its end, over as many connections as that takes, without a gap and without a repetition.
 *
 * The NDJSON form over fetch, not EventSource: fetch can send the token and Last-Event-ID; a reconnect needs no ticket.
 */

import { ApiProblem, call } from "./api.js";

/** The server writes something every 15 s; three times nothing is a dead connection. */
const SILENCE_MS = 45_000;
const FIRST_RETRY_MS = 250;
const LONGEST_RETRY_MS = 8_000;

/** The connection ended before the stream did. Nothing is lost: the next one goes on behind the last id. */
class ConnectionLost extends Error {}

/**
 * @param {string} path of the stream.
 * @param {AbortSignal} signal ends the following.
 * @param {function(Object)} onFrame gets `{id?, event, data}`, each exactly once and in order.
 * @param {function(boolean)} onLive true when connected, false when the connection was lost.
 * Returns after `end`. Throws ApiProblem when the server refuses for good, AbortError when `signal` says so.
 */
export async function follow(path, { signal, onFrame, onLive }) {
  let lastId = "";
  let failures = 0;
  for (;;) {
    try {
      for await (const frame of frames(path, lastId, signal, onLive)) {
        failures = 0;
        onFrame(frame);
        lastId = frame.id ?? lastId;
        if (frame.event === "end") return;
      }
    } catch (error) {
      signal.throwIfAborted();
      if (!isPassing(error)) throw error;
    }
    onLive(false);
    await pause(Math.min(FIRST_RETRY_MS * 2 ** failures, LONGEST_RETRY_MS), signal);
    failures += 1;
  }
}

/** Whether it is worth coming back: after a cut, an outage, too many requests. */
function isPassing(error) {
  if (error instanceof ConnectionLost) return true;
  return error instanceof ApiProblem && (error.status === 0 || error.status === 429 || error.status >= 500);
}

/** The frames of one connection. */
async function* frames(path, lastId, signal, onLive) {
  const silence = new AbortController();
  let timer = setTimeout(() => silence.abort(), SILENCE_MS);
  try {
    const headers = { Accept: "application/x-ndjson", ...(lastId && { "Last-Event-ID": lastId }) };
    const answer = await call(path, { headers, signal: AbortSignal.any([signal, silence.signal]) });
    if (answer.status === 204) {
      // Everything was told before the connection was lost.
      yield { event: "end", data: {} };
      return;
    }
    onLive(true);
    for await (const line of lines(answer.body)) {
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENCE_MS);
      if (line !== "") yield JSON.parse(line);
    }
  } finally {
    clearTimeout(timer);
  }
}

/** Whole lines of a body; a last one without a line end was cut off and is not given. */
async function* lines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((error) => {
        throw new ConnectionLost("the stream was cut", { cause: error });
      });
      if (done) return;
      const parts = (rest + value).split("\n");
      rest = parts.pop();
      yield* parts;
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

/** Somewhere between half of `ms` and all of it: watchers who were cut off together do not come back together. */
function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const leave = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(
      () => {
        signal.removeEventListener("abort", leave);
        resolve();
      },
      ms * (0.5 + Math.random() / 2),
    );
    signal.addEventListener("abort", leave);
  });
}
