/** The last batches, newest first, each a link to its page. */

import { arrange, element, setText } from "./element.js";
import { ago } from "./measures.js";
import { batchToneOf, words } from "./states.js";

export class Recent {
  #rows = new Map();

  constructor() {
    this.list = element("ol.recent");
    this.none = element("p.quiet", {}, "Nothing has been run yet.");
    this.node = element(
      "section",
      { "aria-labelledby": "recent-title" },
      element("h2", { id: "recent-title" }, "Recent batches"),
      this.none,
      this.list,
    );
  }

  /** @param {Object[]} batches of GET /api/batch_commands. */
  show(batches, openBatchId) {
    this.none.hidden = batches.length > 0;
    this.#rows = new Map(batches.map((batch) => [batch.batch_command_id, this.#row(batch, openBatchId)]));
    arrange(this.list, [...this.#rows.values()].map((row) => row.node));
  }

  #row(batch, openBatchId) {
    const id = batch.batch_command_id;
    const row = this.#rows.get(id) ?? newRow(id);
    row.node.dataset.tone = batchToneOf(batch.overall_status);
    if (id === openBatchId) row.link.setAttribute("aria-current", "page");
    else row.link.removeAttribute("aria-current");
    setText(row.name, batch.execution_alias ?? id.slice(-12));
    const good = batch.counts.SUCCESS ?? 0;
    const when = ago(Date.parse(batch.created_at), Date.now());
    setText(row.facts, `${words(batch.overall_status)} · ${good}/${batch.total} · ${when}`);
    return row;
  }
}

function newRow(id) {
  const name = element("span.name");
  const facts = element("span.quiet");
  const link = element("a", { href: `#/batches/${id}` }, element("span.dot"), name, facts);
  return { node: element("li", { data: { batch: id } }, link), link, name, facts };
}
