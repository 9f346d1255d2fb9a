/** The list of machines: filter, choose. Owns which are chosen; a machine that is filtered out stays chosen. */

import { arrange, element, setText } from "./element.js";
import { amount, plural } from "./measures.js";

/** Rows drawn at once; a filter finds the others. */
const MOST_ROWS = 500;

export class Machines {
  #agents = [];
  #rows = new Map();
  #chosen = new Set();

  /** @param {function()} onChoice is called when the chosen machines changed. */
  constructor(onChoice) {
    this.onChoice = onChoice;
    this.filter = element("input", {
      type: "search",
      id: "filter",
      placeholder: "Filter: name, label=value",
      "aria-label": "Filter machines by name or label",
      "aria-keyshortcuts": "/",
      autocomplete: "off",
      spellcheck: "false",
      oninput: () => this.#draw(),
    });
    this.connectedOnly = element("input", { type: "checkbox", id: "connected-only", onchange: () => this.#draw() });
    this.all = element("input", {
      type: "checkbox",
      "aria-label": "Choose all machines in the list",
      onchange: () => this.#chooseAll(this.all.checked),
    });
    this.summary = element("p.quiet", { role: "status" });
    this.body = element("tbody");
    this.node = element(
      "section.machines",
      { "aria-labelledby": "machines-title" },
      element("h2", { id: "machines-title" }, "Machines"),
      element(
        "div.filters",
        {},
        this.filter,
        element("label.check", { for: "connected-only" }, this.connectedOnly, "connected"),
      ),
      element("div.scroll", {}, element("table", {}, this.#head(), this.body)),
      this.summary,
    );
  }

  /** Ids of the chosen machines, in the order of the list. */
  get chosen() {
    return this.#agents.map((agent) => agent.agent_id).filter((id) => this.#chosen.has(id));
  }

  /** @param {Object[]} agents of GET /api/agents. */
  show(agents) {
    this.#agents = agents.filter((agent) => !agent.revoked);
    this.#draw();
  }

  #head() {
    return element(
      "thead",
      {},
      element(
        "tr",
        {},
        element("th", { scope: "col" }, this.all),
        element("th", { scope: "col" }, "Name"),
        element("th", { scope: "col" }, "Carrier"),
        element("th", { scope: "col" }, "Labels"),
      ),
    );
  }

  get #fitting() {
    const terms = this.filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const { checked } = this.connectedOnly;
    return this.#agents.filter(
      (agent) => (!checked || agent.connected) && terms.every((term) => termFits(agent, term)),
    );
  }

  #draw() {
    const fitting = this.#fitting;
    const shown = fitting.slice(0, MOST_ROWS);
    const rows = new Map(shown.map((agent) => [agent.agent_id, this.#row(agent)]));
    this.#rows = rows;
    arrange(this.body, [...rows.values()].map((row) => row.node));
    const chosen = fitting.filter((agent) => this.#chosen.has(agent.agent_id)).length;
    this.all.checked = chosen > 0 && chosen === fitting.length;
    this.all.indeterminate = chosen > 0 && chosen < fitting.length;
    const hidden = fitting.length - shown.length;
    const connected = this.#agents.filter((agent) => agent.connected).length;
    setText(
      this.summary,
      `${plural(this.#agents.length, "machine")}, ${amount(connected)} connected` +
        (fitting.length < this.#agents.length ? `, ${amount(fitting.length)} in the list` : "") +
        (hidden > 0 ? `, ${amount(hidden)} of them not drawn` : ""),
    );
    this.onChoice();
  }

  #row(agent) {
    const id = agent.agent_id;
    const row = this.#rows.get(id) ?? this.#newRow(id);
    row.box.checked = this.#chosen.has(id);
    row.node.dataset.connected = agent.connected;
    row.node.dataset.tone = agent.connected ? "good" : "idle";
    setText(row.name, agent.name || id);
    row.name.title = agent.connected ? "connected" : `last seen ${agent.last_seen ?? "never"}`;
    setText(row.carrier, agent.link?.carrier ?? "away");
    const labels = Object.entries(agent.labels).map(([name, value]) => `${name}=${value}`);
    if (row.labels.dataset.all !== labels.join(" ")) {
      row.labels.dataset.all = labels.join(" ");
      row.labels.replaceChildren(...labels.map((label) => this.#labelButton(label)));
    }
    return row;
  }

  #newRow(id) {
    const boxId = `machine-${id}`;
    const box = element("input", { type: "checkbox", id: boxId, onchange: () => this.#choose(id, box.checked) });
    const name = element("label", { for: boxId });
    const carrier = element("td.carrier");
    const labels = element("td.labels");
    const node = element(
      "tr",
      { data: { agent: id } },
      element("td", {}, box),
      element("td.name", {}, element("span.dot"), name),
      carrier,
      labels,
    );
    return { node, box, name, carrier, labels };
  }

  #labelButton(label) {
    const narrow = () => {
      this.filter.value = `${this.filter.value} ${label}`.trim();
      this.#draw();
    };
    const title = "Show only machines with this label";
    return element("button.label", { type: "button", title, onclick: narrow }, label);
  }

  #choose(id, chosen) {
    if (chosen) this.#chosen.add(id);
    else this.#chosen.delete(id);
    this.#draw();
  }

  #chooseAll(chosen) {
    for (const agent of this.#fitting) {
      if (chosen) this.#chosen.add(agent.agent_id);
      else this.#chosen.delete(agent.agent_id);
    }
    this.#draw();
  }
}

/** `name=value` asks for a label; anything else may be part of the name, the id, the carrier or a label's value. */
function termFits(agent, term) {
  const [label, value] = term.split("=", 2);
  if (value !== undefined) {
    return Object.entries(agent.labels).some(
      ([name, held]) => name.toLowerCase() === label && held.toLowerCase().startsWith(value),
    );
  }
  const said = [agent.agent_id, agent.name, agent.link?.carrier ?? "", ...Object.values(agent.labels)];
  return said.some((text) => text.toLowerCase().includes(term));
}
