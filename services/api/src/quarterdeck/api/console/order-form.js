/** What to run: command, alias, timeout. Owns the request's body and what is wrong with it; not the machines. */

import { ApiProblem, submitBatch } from "./api.js";
import { element, setText } from "./element.js";
import { plural } from "./measures.js";

/** Field of the API → id of the input that it came from. */
const INPUT_OF = { command_content: "command", execution_alias: "alias", timeout: "timeout", target_vps_ids: "filter" };

export class OrderForm {
  #targets = [];
  #sent = { order: "", key: "" };

  /** @param {function(string)} onSubmitted gets the new batch's id. */
  constructor(onSubmitted) {
    this.onSubmitted = onSubmitted;
    this.command = element("textarea.mono", {
      id: "command",
      rows: "5",
      required: true,
      placeholder: "uname -a",
      spellcheck: "false",
      autocapitalize: "off",
      "aria-keyshortcuts": "Control+Enter",
      oninput: () => this.#draw(),
    });
    this.alias = element("input", { id: "alias", type: "text", placeholder: "none", autocomplete: "off" });
    this.timeout = element("input", { id: "timeout", type: "number", min: "1", step: "any", placeholder: "3600" });
    this.run = element("button.primary", { type: "submit", id: "run" }, "Run");
    this.problem = element("p.error", { role: "alert", hidden: true });
    this.node = element(
      "form.order-form",
      { "aria-labelledby": "order-title", novalidate: true },
      element("h2", { id: "order-title" }, "Command"),
      element("label.visually-hidden", { for: "command" }, "Shell command or script"),
      this.command,
      element("div.pair", {}, field("Alias", this.alias), field("Timeout (s)", this.timeout)),
      this.problem,
      this.run,
      element("p.quiet", {}, element("kbd", {}, "Ctrl"), " ", element("kbd", {}, "Enter"), " runs"),
    );
    this.node.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.node.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.node.requestSubmit();
    });
    this.#draw();
  }

  /** @param {string[]} targets the chosen machines. */
  aim(targets) {
    this.#targets = targets;
    this.#draw();
  }

  #draw() {
    const ready = this.#targets.length > 0 && this.command.value.trim() !== "";
    this.run.disabled = !ready;
    const { length } = this.#targets;
    setText(this.run, length > 0 ? `Run on ${plural(length, "machine")}` : "Choose machines");
  }

  async #submit() {
    if (this.run.disabled) return;
    this.#complain(null);
    this.run.disabled = true;
    const order = {
      command_content: this.command.value,
      target_vps_ids: this.#targets,
      ...(this.alias.value.trim() && { execution_alias: this.alias.value.trim() }),
      ...(this.timeout.value && { timeout: Number(this.timeout.value) }),
    };
    try {
      const batchId = await submitBatch(order, this.#keyOf(order));
      this.#sent = { order: "", key: "" };
      this.onSubmitted(batchId);
    } catch (error) {
      this.#complain(error);
    } finally {
      this.#draw();
    }
  }

  /** An order sent again because no answer came keeps its key: it is the same order, not a second one. */
  #keyOf(order) {
    const text = JSON.stringify(order);
    if (this.#sent.order !== text) {
      const key = [...crypto.getRandomValues(new Uint32Array(4))].map((word) => word.toString(36)).join("");
      this.#sent = { order: text, key };
    }
    return this.#sent.key;
  }

  #complain(error) {
    this.problem.hidden = error === null;
    setText(this.problem, error?.message ?? "");
    const wrong = error instanceof ApiProblem ? INPUT_OF[error.field] : undefined;
    for (const id of Object.values(INPUT_OF)) {
      document.getElementById(id)?.setAttribute("aria-invalid", String(id === wrong));
    }
    if (wrong !== undefined) document.getElementById(wrong)?.focus();
  }
}

function field(text, input) {
  return element("label.field", { for: input.id }, element("span", {}, text), input);
}
