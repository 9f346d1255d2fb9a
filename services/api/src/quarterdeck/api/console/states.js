/** The states of commands and batches: their names, which are ends, and the tone in which each is shown. */

/** State of a command → tone, in the order in which the meter shows them: ends first, they fill it from the left. */
const TONES = new Map([
  ["succeeded", "good"],
  ["failed", "bad"],
  ["timed_out", "bad"],
  ["rejected", "bad"],
  ["outcome_unknown", "lost"],
  ["unreachable", "lost"],
  ["expired", "lost"],
  ["terminated", "stopped"],
  ["skipped", "stopped"],
  ["terminating", "stopping"],
  ["executing", "busy"],
  ["accepted", "queued"],
  ["sent", "queued"],
  ["waiting", "idle"],
  ["pending", "idle"],
]);

const OPEN = new Set(["terminating", "executing", "accepted", "sent", "waiting", "pending"]);

/** What the lists of the API call a task's state; events name it more exactly. */
const FROM_STATUS = {
  PENDING: "pending",
  SENT_TO_AGENT: "sent",
  AGENT_ACCEPTED: "accepted",
  EXECUTING: "executing",
  TERMINATING: "terminating",
  SUCCESS: "succeeded",
  FAILURE: "failed",
  TERMINATED: "terminated",
  AGENT_UNREACHABLE: "unreachable",
  AGENT_REJECTED: "rejected",
};

const BATCH_TONES = {
  PENDING: "idle",
  IN_PROGRESS: "busy",
  TERMINATING: "stopping",
  COMPLETED_SUCCESSFULLY: "good",
  COMPLETED_WITH_ERRORS: "bad",
  TERMINATED: "stopped",
  FAILED_TO_START: "lost",
};

const BATCH_OPEN = new Set(["PENDING", "IN_PROGRESS", "TERMINATING"]);

export const STATES = [...TONES.keys()];

export const toneOf = (state) => TONES.get(state) ?? "idle";

export const isEnd = (state) => !OPEN.has(state);

export const fromStatus = (status) => FROM_STATUS[status] ?? "pending";

export const batchToneOf = (state) => BATCH_TONES[state] ?? "idle";

export const isBatchEnd = (state) => !BATCH_OPEN.has(state);

/** "timed_out", "COMPLETED_WITH_ERRORS" → words. */
export const words = (state) => state.toLowerCase().replaceAll("_", " ");
