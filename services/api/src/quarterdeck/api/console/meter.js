/** How a batch stands: one bar over all machines, and a counter per state that is also a filter. */

import { element } from "./element.js";
import { amount } from "./measures.js";
import { STATES, toneOf, words } from "./states.js";

export class Meter {
  /** The states whose machines are shown; empty: all. */
  chosen = new Set();
  #segments = new Map();
  #counters = new Map();

  /** @param {function()} onChoice is called when `chosen` changed. */
  constructor(onChoice) {
    this.bar = element("div.bar", { role: "img" });
    this.row = element("div.counters", { role: "group", "aria-label": "Machines per state: choose which are shown" });
    this.node = element("div.meter", {}, this.bar, this.row);
    for (const state of STATES) {
      const segment = element("span.segment", { data: { tone: toneOf(state) } });
      const number = element("b");
      const counter = element(
        "button.counter",
        { type: "button", "aria-pressed": "false", data: { state, tone: toneOf(state) } },
        element("span.dot"),
        number,
        words(state),
      );
      counter.addEventListener("click", () => {
        if (!this.chosen.delete(state)) this.chosen.add(state);
        counter.setAttribute("aria-pressed", String(this.chosen.has(state)));
        onChoice();
      });
      this.#segments.set(state, segment);
      this.#counters.set(state, { counter, number });
      this.bar.append(segment);
      this.row.append(counter);
    }
    this.show(new Map());
  }

  /** @param {Map<string, number>} counts per state. */
  show(counts) {
    const told = [];
    for (const state of STATES) {
      const count = counts.get(state) ?? 0;
      const { counter, number } = this.#counters.get(state);
      const segment = this.#segments.get(state);
      segment.style.flexGrow = count;
      segment.classList.toggle("some", count > 0);
      number.textContent = amount(count);
      counter.hidden = count === 0 && !this.chosen.has(state);
      if (count > 0) told.push(`${count} ${words(state)}`);
    }
    this.bar.setAttribute("aria-label", told.join(", "));
  }
}
