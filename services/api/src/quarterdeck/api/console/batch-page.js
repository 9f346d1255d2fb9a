/** The page of one batch: follows its stream while it is open, and draws what changed, once per frame of the screen. */

import { batchPath, getBatch, outputUrl, stopBatch, stopTask } from "./api.js";
import { Batch } from "./batch.js";
import { arrange, element, setText } from "./element.js";
import { fold } from "./folding.js";
import { follow } from "./follow.js";
import { amount, duration, plural } from "./measures.js";
import { Meter } from "./meter.js";
import { Pane } from "./pane.js";
import { batchToneOf, words } from "./states.js";

/** More panes than anybody reads; the counters choose which. */
const MOST_PANES = 200;
const TICK_MS = 500;

export class BatchPage {
  #batch = null;
  #panes = new Map();
  #changed = new Set();
  #regroup = true;
  #drawing = false;
  #leaving = new AbortController();
  #ticking = 0;

  /** @param {{onError: function(Error), onEnd: function()}} callbacks */
  constructor(batchId, { onError, onEnd }) {
    this.batchId = batchId;
    this.onError = onError;
    this.onEnd = onEnd;
    this.meter = new Meter(() => this.#draw({ regroup: true }));
    this.title = element("h2", {}, "Batch");
    this.state = element("span.badge", { role: "status" });
    this.facts = element("p.quiet");
    this.order = element("pre.order", { "aria-label": "What was ordered", hidden: true });
    this.live = element("span.live", {}, "connecting");
    this.fold = element("input", { type: "checkbox", id: "fold", onchange: () => this.#draw({ regroup: true }) });
    this.stop = element("button.danger", { type: "button", id: "stop-all", hidden: true }, "Stop all");
    this.stop.addEventListener("click", () => this.#attempt(() => stopBatch(this.batchId)));
    this.panes = element("div.panes");
    this.more = element("p.quiet", { hidden: true });
    this.node = element(
      "section.batch",
      { "aria-labelledby": "batch-title" },
      element("header", {}, this.title, this.state, this.live, element("span.spring"), this.#foldLabel(), this.stop),
      this.facts,
      this.order,
      this.meter.node,
      this.panes,
      this.more,
    );
    this.title.id = "batch-title";
  }

  /** Loads, then follows to the end or until `leave`. Never throws: errors go to `onError`. */
  async open() {
    const { signal } = this.#leaving;
    try {
      const body = await getBatch(this.batchId);
      if (signal.aborted) return;
      this.#batch = new Batch(body);
      this.#ticking = setInterval(() => this.#tick(), TICK_MS);
      this.#draw({ regroup: true });
      await follow(`${batchPath(this.batchId)}/events`, {
        signal,
        onFrame: (frame) => this.#take(frame),
        onLive: (live) => setText(this.live, live ? "live" : "reconnecting"),
      });
      for (const task of this.#batch.settle(await getBatch(this.batchId))) this.#changed.add(task);
      setText(this.live, "complete");
      this.#draw({ regroup: true });
      this.onEnd();
    } catch (error) {
      if (!signal.aborted) this.onError(error);
    }
  }

  leave() {
    this.#leaving.abort();
    clearInterval(this.#ticking);
  }

  #foldLabel() {
    return element("label.check", { for: "fold" }, this.fold, "Fold identical outputs");
  }

  #take(frame) {
    for (const task of this.#batch.take(frame)) this.#changed.add(task);
    this.#draw({ regroup: this.fold.checked || frame.event !== "output" });
  }

  /** Soon, and once for however many changes come until then. `regroup`: which panes there are may change too. */
  #draw({ regroup }) {
    this.#regroup ||= regroup;
    if (this.#drawing || this.#batch === null) return;
    this.#drawing = true;
    requestAnimationFrame(() => {
      this.#drawing = false;
      this.#drawHead();
      if (this.#regroup) this.#drawPanes();
      for (const task of this.#changed) this.#panes.get(task.id)?.sync();
      this.#regroup = false;
      this.#changed.clear();
    });
  }

  #drawHead() {
    const batch = this.#batch;
    setText(this.title, batch.alias ?? `Batch ${batch.id.slice(-12)}`);
    setText(this.state, words(batch.state));
    Object.assign(this.node.dataset, { state: batch.state, batch: batch.id });
    this.state.dataset.tone = batchToneOf(batch.state);
    this.stop.hidden = batch.ended;
    this.stop.disabled = batch.state === "TERMINATING";
    this.order.hidden = batch.order === null;
    setText(this.order, batch.order ?? "");
    this.meter.show(batch.counts);
    this.#drawFacts();
    document.title = `${batch.finishedTasks}/${batch.total} ${this.title.textContent} · Quarterdeck`;
  }

  #drawFacts() {
    const { id, total, finishedTasks, createdAt, completedAt } = this.#batch;
    const elapsed = duration((completedAt ?? Date.now()) - createdAt);
    setText(this.facts, `${amount(finishedTasks)} of ${plural(total, "machine")} finished · ${elapsed} · ${id}`);
  }

  #drawPanes() {
    const { chosen } = this.meter;
    const tasks = [...this.#batch.tasks.values()].filter((task) => chosen.size === 0 || chosen.has(task.state));
    const groups = this.fold.checked ? fold(tasks) : tasks.map((task) => [task]);
    const shown = groups.slice(0, MOST_PANES);
    const panes = new Map();
    for (const group of shown) {
      const pane = this.#panes.get(group[0].id) ?? new Pane(this.#paneActions());
      pane.show(group);
      panes.set(group[0].id, pane);
    }
    this.#panes = panes;
    arrange(this.panes, [...panes.values()].map((pane) => pane.node));
    this.more.hidden = shown.length === groups.length;
    setText(this.more, `${amount(groups.length - shown.length)} more are not shown: choose a state above, or fold.`);
  }

  #tick() {
    if (this.#batch.ended) return;
    this.#drawFacts();
    for (const pane of this.#panes.values()) pane.tick();
  }

  #paneActions() {
    return {
      stop: (task) => this.#attempt(() => stopTask(this.batchId, task.id)),
      save: (task, stream) =>
        this.#attempt(async () => save(await outputUrl(task.id, stream))),
    };
  }

  async #attempt(act) {
    try {
      await act();
    } catch (error) {
      this.onError(error);
    }
  }
}

/** The browser writes it to disk as it comes, whatever its size; the server names the file. */
function save(url) {
  element("a", { href: url, download: "" }).click();
}
