/**
 * Makes foreign text harmless to read: what would act on a terminal, or reorder what is on the screen, is shown as a sign.
 * Escaping for HTML is not done here, because no text of this page ever becomes HTML.
 */

const LINE_END = /\r\n/g;

/** C0 except tab and line feed, DEL, C1, and the bidirectional controls of Unicode TR 36 §2.5. */
// eslint-disable-next-line no-control-regex
const ACTING = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

const CONTROL_PICTURES = 0x2400;
const DELETE_PICTURE = "\u2421";

/** "\x1b[31mred" → "␛[31mred". */
export function visible(text) {
  return text.replace(LINE_END, "\n").replace(ACTING, sign);
}

function sign(character) {
  const code = character.codePointAt(0);
  if (code < 0x20) return String.fromCodePoint(CONTROL_PICTURES + code);
  if (code === 0x7f) return DELETE_PICTURE;
  return `⟨U+${code.toString(16).toUpperCase().padStart(4, "0")}⟩`;
}
