/**
 * The last part of one command's output, both streams in the order in which they came, bounded in memory.
 *
 * Owns offsets: a chunk seen before changes nothing, a missing one is said. Panes show what is kept here.
 */

import { visible } from "./visible.js";

/** Pieces are grown up to this and then left alone, so that a pane has few nodes and rewrites little. */
const PIECE_LENGTH = 4096;

export class Tail {
  #limit;
  #length = 0;
  #attempt = 0;
  #streams = newStreams();

  /** @param {number} limit characters kept. */
  constructor(limit) {
    this.#limit = limit;
    /** `{number, stream, text}`, oldest first; `stream` is stdout, stderr or note. Numbers only grow. */
    this.pieces = [];
    this.nextNumber = 0;
    /** Something older was dropped, or never came: the full log has more. */
    this.partial = false;
  }

  /** Bytes of a stream that were seen or are known to exist. */
  bytesOf(stream) {
    return this.#streams[stream].end;
  }

  get bytes() {
    return this.bytesOf("stdout") + this.bytesOf("stderr");
  }

  /** One chunk. `bytes`: Uint8Array that begins at `offset` of `stream` in attempt number `attempt`. */
  append(attempt, stream, offset, bytes) {
    this.#enter(attempt);
    const seen = this.#streams[stream];
    if (attempt < this.#attempt || offset + bytes.length <= seen.end) return;
    this.#skip(stream, offset);
    const fresh = offset < seen.end ? bytes.subarray(seen.end - offset) : bytes;
    seen.end = offset + bytes.length;
    this.#add(stream, visible(seen.decoder.decode(fresh, { stream: true })));
  }

  /** Bytes before `length` that have not been seen will not come any more. */
  skipTo(attempt, stream, length) {
    this.#enter(attempt);
    if (attempt === this.#attempt) this.#skip(stream, length);
  }

  /** What one stream says, as shown. */
  textOf(stream) {
    return this.pieces.filter((piece) => piece.stream === stream).map((piece) => piece.text).join("");
  }

  #enter(attempt) {
    if (attempt <= this.#attempt) return;
    if (this.bytes > 0) this.#add("note", `\n— attempt ${attempt} —\n`);
    this.#attempt = attempt;
    this.#streams = newStreams();
  }

  #skip(stream, offset) {
    const seen = this.#streams[stream];
    if (offset <= seen.end) return;
    this.#add("note", `\n— ${offset - seen.end} bytes of ${stream} are not shown —\n`);
    this.partial = true;
    seen.end = offset;
    seen.decoder = new TextDecoder();
  }

  #add(stream, text) {
    for (let start = 0; start < text.length; ) {
      let last = this.pieces.at(-1);
      if (last === undefined || last.stream !== stream || last.text.length >= PIECE_LENGTH) {
        last = { number: this.nextNumber++, stream, text: "" };
        this.pieces.push(last);
      }
      const part = text.slice(start, start + PIECE_LENGTH - last.text.length);
      last.text += part;
      start += part.length;
    }
    this.#length += text.length;
    while (this.#length > this.#limit && this.pieces.length > 1) {
      this.#length -= this.pieces.shift().text.length;
      this.partial = true;
    }
  }
}

function newStreams() {
  return { stdout: { end: 0, decoder: new TextDecoder() }, stderr: { end: 0, decoder: new TextDecoder() } };
}
