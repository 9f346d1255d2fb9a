/**
 * One batch as the page knows it: loaded once, then moved by the frames of its stream. No DOM and no network here.
 *
 * Versions decide: an event that is not newer than what is known changes nothing, in whatever order things come.
 */

import { fromStatus, isBatchEnd, isEnd } from "./states.js";
import { Tail } from "./tail.js";

/** Characters of output kept for all machines together, and the most for one. */
const KEPT_LENGTH = 32 * 1024 * 1024;
const KEPT_LENGTH_EACH = 128 * 1024;

export class Batch {
  #version = 0;

  /** @param {Object} body of GET /api/batch_commands/{id}. */
  constructor(body) {
    this.id = body.batch_command_id;
    this.alias = body.execution_alias;
    this.state = body.overall_status;
    this.total = body.total;
    this.createdAt = Date.parse(body.created_at);
    this.completedAt = body.completed_at ? Date.parse(body.completed_at) : null;
    /** What was ordered; known when the stream has told it. */
    this.order = null;
    /** State → number of tasks. */
    this.counts = new Map();
    const limit = Math.min(KEPT_LENGTH_EACH, Math.floor(KEPT_LENGTH / Math.max(1, body.total)));
    /** command_id → task, in the order of the targets. */
    this.tasks = new Map(body.tasks.map((task) => [task.child_command_id, newTask(task, limit)]));
    for (const task of this.tasks.values()) this.#count(task.state, +1);
  }

  get ended() {
    return isBatchEnd(this.state);
  }

  get finishedTasks() {
    let finished = 0;
    for (const [state, number] of this.counts) if (isEnd(state)) finished += number;
    return finished;
  }

  /** Takes one frame of the stream. Answers the tasks that changed. */
  take({ event, data }) {
    switch (event) {
      case "snapshot":
      case "resync":
        this.#moveBatch(data.batch, data.batch.version);
        for (const command of data.commands ?? []) this.#resync(command);
        return this.tasks.values();
      case "batch":
        if (data.type === "batch.created") this.order ??= orderOf(data.data.spec);
        else this.#moveBatch({ ...data.data, completed_at_ms: Date.parse(data.time) }, data.aggregateversion);
        return [];
      case "command":
        return this.#moveTask(data.data, data.aggregateversion);
      case "output":
        return this.#output(data);
      default:
        return [];
    }
  }

  /** The batch as loaded anew behind the stream's end: decides what the stream left open. Answers all tasks. */
  settle(body) {
    this.state = body.overall_status;
    this.completedAt = body.completed_at ? Date.parse(body.completed_at) : this.completedAt;
    for (const { child_command_id: id, status, exit_code: exitCode, error_message: error } of body.tasks) {
      const task = this.tasks.get(id);
      if (task === undefined || isEnd(task.state)) continue;
      this.#enter(task, fromStatus(status));
      Object.assign(task, { exitCode, error });
    }
    return this.tasks.values();
  }

  #moveBatch(news, version) {
    if (version < this.#version || !news.state) return;
    this.#version = version;
    this.state = news.state;
    if (this.ended) this.completedAt ??= news.completed_at_ms;
  }

  #moveTask(news, version) {
    const task = this.tasks.get(news.command_id);
    if (task === undefined || version <= task.version || !news.state) return [];
    task.version = version;
    // Loaded as ended: the past, which the stream tells from the start, must not make it run again.
    if (isEnd(task.state) && !isEnd(news.state)) return [];
    this.#enter(task, news.state);
    task.attempt = Math.max(task.attempt, news.attempt ?? 0);
    task.exitCode = news.exit_code ?? null;
    task.signal = news.signal ?? null;
    task.error = news.error ?? task.error;
    task.startedAt = news.started_at_ms ?? task.startedAt;
    task.completedAt = news.completed_at_ms ?? task.completedAt;
    return [task];
  }

  #resync(command) {
    this.#moveTask(command, command.version);
    const task = this.tasks.get(command.command_id);
    if (task === undefined) return;
    for (const stream of ["stdout", "stderr"]) task.tail.skipTo(command.attempt, stream, command[stream].length);
  }

  #output(chunk) {
    const task = this.tasks.get(chunk.command_id);
    task?.tail.append(chunk.attempt, chunk.stream, chunk.offset, bytesOf(chunk.data));
    return task === undefined ? [] : [task];
  }

  #enter(task, state) {
    this.#count(task.state, -1);
    this.#count(state, +1);
    task.state = state;
  }

  #count(state, change) {
    this.counts.set(state, (this.counts.get(state) ?? 0) + change);
  }
}

function newTask(task, limit) {
  return {
    id: task.child_command_id,
    target: task.vps_id,
    name: task.vps_name || task.vps_id,
    state: fromStatus(task.status),
    version: 0,
    attempt: 0,
    exitCode: task.exit_code,
    signal: null,
    error: task.error_message,
    startedAt: null,
    completedAt: null,
    tail: new Tail(limit),
  };
}

/** The words of an order, from the spec of `batch.created`. */
function orderOf(spec) {
  if (!spec) return null;
  const payload = JSON.parse(spec.payload);
  return payload.command ?? payload.script ?? payload.argv?.join(" ") ?? spec.command_type;
}

function bytesOf(base64) {
  const characters = atob(base64);
  const bytes = new Uint8Array(characters.length);
  for (let index = 0; index < bytes.length; index += 1) bytes[index] = characters.charCodeAt(index);
  return bytes;
}
