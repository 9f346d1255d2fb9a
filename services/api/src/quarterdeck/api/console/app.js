/** The console's beginning: asks for the token, keeps the lists fresh, opens the batch that the address names. */

import { access } from "./access.js";
import { ApiProblem, listAgents, listBatches } from "./api.js";
import { BatchPage } from "./batch-page.js";
import { element, setText } from "./element.js";
import { Machines } from "./machines.js";
import { OrderForm } from "./order-form.js";
import { Recent } from "./recent.js";

const REFRESH_MS = 5_000;
const RECENT_BATCHES = 20;
const BATCH_ADDRESS = /^#\/batches\/([A-Za-z0-9_-]{1,64})$/;

const notice = document.getElementById("notice");
const main = document.getElementById("main");
const welcome = document.getElementById("welcome");
const signIn = document.getElementById("sign-in");
const signOut = document.getElementById("sign-out");

const recent = new Recent();
const machines = new Machines(() => order.aim(machines.chosen));
const order = new OrderForm((batchId) => {
  location.hash = `#/batches/${batchId}`;
  refresh();
});
let page = null;
let refreshing = 0;

document.getElementById("side").append(machines.node, order.node, recent.node);
addEventListener("hashchange", openAddress);
addEventListener("keydown", focusFilter);
document.addEventListener("visibilitychange", refresh);
signIn.addEventListener("submit", enter);
signOut.addEventListener("click", () => leave(""));

if (access.token) begin();
else leave("");

async function enter(event) {
  event.preventDefault();
  access.keep(new FormData(signIn).get("token").trim());
  signIn.reset();
  await begin();
}

/** Shows the console; a token that the server does not take leads back to the question. */
async function begin() {
  document.body.dataset.signedIn = "true";
  complain(null);
  await refresh();
  if (access.token) openAddress();
}

function leave(reason) {
  access.forget();
  clearTimeout(refreshing);
  page?.leave();
  page = null;
  main.replaceChildren(welcome);
  document.body.dataset.signedIn = "false";
  setText(document.getElementById("sign-in-problem"), reason);
  document.getElementById("token").focus();
}

/** Machines and recent batches; again after a while, as long as somebody looks. */
async function refresh() {
  clearTimeout(refreshing);
  if (!access.token || document.hidden) return;
  try {
    const [agents, batches] = await Promise.all([listAgents(), listBatches(RECENT_BATCHES)]);
    machines.show(agents);
    recent.show(batches, page?.batchId);
    if (notice.dataset.status === "0") complain(null);
  } catch (error) {
    complain(error);
  }
  clearTimeout(refreshing);
  if (access.token) refreshing = setTimeout(refresh, REFRESH_MS);
}

function openAddress() {
  if (!access.token) return;
  const batchId = BATCH_ADDRESS.exec(location.hash)?.[1];
  if (page?.batchId === batchId) return;
  page?.leave();
  page = batchId ? new BatchPage(batchId, { onError: complain, onEnd: refresh }) : null;
  main.replaceChildren(page ? page.node : welcome);
  document.title = "Quarterdeck";
  page?.open();
}

/** Says what went wrong where everybody sees it; null: nothing any more. */
function complain(error) {
  if (error instanceof ApiProblem && error.status === 401) return leave("This token is not valid.");
  notice.hidden = error === null;
  notice.dataset.status = error?.status ?? "";
  notice.replaceChildren(
    error?.message ?? "",
    element("button.small", { type: "button", onclick: () => complain(null) }, "Dismiss"),
  );
}

function focusFilter(event) {
  const typing = event.target.closest?.("input, textarea") !== null;
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  machines.filter.focus();
}
