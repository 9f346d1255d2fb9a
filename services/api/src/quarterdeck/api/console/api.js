/** The REST API as functions. Owns headers and errors; what the answers mean is for the callers. */

import { access } from "./access.js";

const TASKS_PER_PAGE = 2000;

/** What the server refused, as RFC 9457 tells it. `status` 0: it could not be reached. */
export class ApiProblem extends Error {
  constructor(status, problem) {
    super(problem.detail ?? problem.title ?? `HTTP ${status}`);
    this.status = status;
    this.code = problem.code ?? "";
    this.field = problem.field ?? null;
  }
}

export const listAgents = async () => (await getJson("/api/agents")).agents;

export const listBatches = async (limit) => (await getJson(`/api/batch_commands?limit=${limit}`)).batch_commands;

/** The whole batch. Large ones come in pages, so that no single answer is huge. */
export async function getBatch(batchId) {
  const path = `${batchPath(batchId)}?limit=${TASKS_PER_PAGE}`;
  const batch = await getJson(path);
  while (batch.tasks.length < batch.total) {
    const { tasks } = await getJson(`${path}&offset=${batch.tasks.length}`);
    if (tasks.length === 0) break;
    batch.tasks.push(...tasks);
  }
  return batch;
}

/** Answers the new batch's id. The same `key` and order again give the same batch. */
export async function submitBatch(order, key) {
  const headers = { "Content-Type": "application/json", "Idempotency-Key": key };
  const answer = await call("/api/batch_commands", { method: "POST", headers, body: JSON.stringify(order) });
  return (await answer.json()).batch_command_id;
}

export const stopBatch = (batchId) => call(`${batchPath(batchId)}/terminate`, { method: "POST" });

export const stopTask = (batchId, commandId) =>
  call(`${batchPath(batchId)}/tasks/${encodeURIComponent(commandId)}/terminate`, { method: "POST" });

export const batchPath = (batchId) => `/api/batch_commands/${encodeURIComponent(batchId)}`;

/**
 * A URL under which the browser itself fetches the full log of one stream, once and within 30 s. Throws ApiProblem when
 * there is no such log any more: a download that fails could not say why.
 */
export async function outputUrl(commandId, stream) {
  const path = `/api/command/${encodeURIComponent(commandId)}/output?stream=${stream}`;
  const probe = await call(path, { headers: { Range: "bytes=0-0" } });
  await probe.body.cancel();
  const { ticket } = await (await call("/api/tickets", { method: "POST" })).json();
  return `${path}&ticket=${encodeURIComponent(ticket)}`;
}

const getJson = async (path) => (await call(path)).json();

/** A successful answer. Throws ApiProblem for every other, and when there is none. */
export async function call(path, options = {}) {
  const headers = { Authorization: `Bearer ${access.token}`, ...options.headers };
  let answer;
  try {
    answer = await fetch(path, { cache: "no-store", credentials: "omit", ...options, headers });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new ApiProblem(0, { detail: "Quarterdeck does not answer." });
  }
  if (answer.ok) return answer;
  throw new ApiProblem(answer.status, await answer.json().catch(() => ({})));
}
