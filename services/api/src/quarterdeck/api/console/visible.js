/**
 * Makes foreign text harmless to read: what would act on a terminal, or reorder what is on the screen, is shown as its
 * code, in the notation of the command line. Text of this page never becomes HTML; nothing is escaped for that.
 */

const LINE_END = /\r\n/g;

/** C0 except tab and line feed, DEL, C1; bidirectional controls, separators, interlinear marks (Unicode 15 §23.2). */
const ACTING =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufff9-\ufffb]/g;

/** The escape character becomes the four characters `\x1b`. */
export function visible(text) {
  return text.replace(LINE_END, "\n").replace(ACTING, asCode);
}

function asCode(character) {
  const code = character.charCodeAt(0).toString(16);
  return code.length <= 2 ? `\\x${code.padStart(2, "0")}` : `\\u${code.padStart(4, "0")}`;
}
