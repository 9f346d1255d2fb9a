/** One machine of a batch, or several that said the same: state, live output, stop, full log. */

import { element, setText } from "./element.js";
import { anonymousError } from "./folding.js";
import { duration, plural, size } from "./measures.js";
import { isEnd, toneOf, words } from "./states.js";

const STREAMS = ["stdout", "stderr"];

export class Pane {
  #tasks = [];
  #shown = [];
  #actions;

  /** @param {{stop: function(Object), save: function(Object, string)}} actions get the task, and the stream. */
  constructor(actions) {
    this.#actions = actions;
    this.title = element("h3");
    this.state = element("span.state");
    this.exit = element("span.exit");
    this.elapsed = element("span.elapsed");
    this.stop = button("Stop", () => actions.stop(this.#lead));
    this.stop.classList.add("danger");
    this.members = element("ul.members");
    this.text = element("pre");
    // Laid out from its end (batch.css): it scrolls along by itself. Asking for heights would cost a layout per pane.
    this.output = element("div.output", { tabindex: "0", role: "region" }, this.text);
    this.error = element("p.error");
    this.expand = button("Expand", () => this.#expand());
    this.expand.setAttribute("aria-pressed", "false");
    this.saves = new Map(STREAMS.map((stream) => [stream, this.#saveButton(stream)]));
    this.node = element(
      "article.pane",
      {},
      element("header", {}, element("span.dot"), this.title, this.state, this.exit, this.elapsed, this.stop),
      this.members,
      this.error,
      this.output,
      element("footer", {}, this.expand, element("span.quiet", {}, "Full log"), ...this.saves.values()),
    );
  }

  /** @param {Object[]} tasks that said the same; one, unless outputs are folded. */
  show(tasks) {
    if (tasks.length === this.#tasks.length && tasks.every((task, index) => task === this.#tasks[index])) return;
    if (tasks[0] !== this.#lead) this.#forget();
    this.#tasks = tasks;
    const folded = tasks.length > 1;
    setText(this.title, folded ? plural(tasks.length, "machine") : this.#lead.name);
    this.members.hidden = !folded;
    if (folded) this.members.replaceChildren(...tasks.map((task) => element("li", {}, task.name)));
    this.output.setAttribute("aria-label", `Output of ${this.title.textContent}`);
    this.stop.setAttribute("aria-label", `Stop on ${this.#lead.name}`);
    this.sync();
  }

  /** Brings the pane up to date with its task. */
  sync() {
    const task = this.#lead;
    Object.assign(this.node.dataset, { target: task.target, state: task.state, tone: toneOf(task.state) });
    setText(this.state, words(task.state));
    setText(this.exit, exitOf(task));
    const error = this.#tasks.length > 1 ? anonymousError(task) : task.error;
    setText(this.error, error ?? "");
    this.error.hidden = error === null || error === exitWords(task);
    this.stop.hidden = isEnd(task.state);
    this.stop.disabled = task.state === "terminating";
    for (const [stream, button] of this.saves) {
      setText(button, `${stream} ${size(task.tail.bytesOf(stream))}`);
      button.disabled = task.tail.bytesOf(stream) === 0;
    }
    this.#syncOutput(task.tail);
    this.tick();
  }

  /** Time passes. */
  tick() {
    const { startedAt, completedAt } = this.#lead;
    setText(this.elapsed, startedAt === null ? "" : duration((completedAt ?? Date.now()) - startedAt));
  }

  get #lead() {
    return this.#tasks[0];
  }

  #expand() {
    const expanded = this.node.classList.toggle("expanded");
    this.expand.setAttribute("aria-pressed", String(expanded));
  }

  #forget() {
    this.#shown = [];
    this.text.replaceChildren();
  }

  #saveButton(stream) {
    const save = button(stream, () => this.#actions.save(this.#lead, stream));
    save.title = `Download all of ${stream}`;
    save.dataset.stream = stream;
    return save;
  }

  /** The same pieces as the tail's, each in a span; touches only those at the two ends that changed. */
  #syncOutput({ pieces, partial }) {
    const first = pieces[0]?.number ?? 0;
    while (this.#shown.length > 0 && this.#shown[0].number < first) this.#shown.shift().text.parentNode.remove();
    const last = this.#shown.at(-1);
    if (last !== undefined) grow(last.text, pieces[last.number - first].text);
    const next = last === undefined ? 0 : last.number - first + 1;
    for (const piece of pieces.slice(next)) {
      const text = document.createTextNode(piece.text);
      this.text.append(element(`span.${piece.stream}`, {}, text));
      this.#shown.push({ number: piece.number, text });
    }
    this.text.classList.toggle("partial", partial);
  }
}

function button(text, onclick) {
  return element("button.small", { type: "button", onclick }, text);
}

function exitOf({ exitCode, signal }) {
  if (signal) return `signal ${signal}`;
  return exitCode === null ? "" : `exit ${exitCode}`;
}

/** What an error says that adds nothing to the exit code. */
const exitWords = ({ exitCode }) => `exit code ${exitCode}`;

/** Text only ever gets longer at its end, so a selection in it is kept. */
function grow(node, text) {
  if (text.length > node.length) node.appendData(text.slice(node.length));
}
