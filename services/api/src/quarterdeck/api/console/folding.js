/** Which finished machines said exactly the same. */

import { isEnd } from "./states.js";

const REPLACEMENT = "\uFFFD";

/** Keys are made of whole outputs; each is made once per state of its task. */
const known = new WeakMap();

/** `tasks` as an array of arrays: equal ones together where the first of them stood, all others alone. */
export function fold(tasks) {
  const groups = new Map();
  for (const task of tasks) {
    const key = knownKey(task) ?? task.id;
    const group = groups.get(key);
    if (group) group.push(task);
    else groups.set(key, [task]);
  }
  return [...groups.values()];
}

/** A task's error without the name of its machine: one that names another says the same. */
export const anonymousError = (task) => task.error?.replaceAll(task.target, "…") ?? null;

function knownKey(task) {
  const made = `${task.version} ${task.tail.bytes}`;
  if (known.get(task)?.made !== made) known.set(task, { made, key: foldingKey(task) });
  return known.get(task).key;
}

/**
 * Tasks with equal keys ended the same way with the same output. null: cannot be told, because it is not finished, or
 * not all of its output is here, or some of it was not text.
 */
function foldingKey(task) {
  if (!isEnd(task.state) || task.tail.partial) return null;
  const stdout = task.tail.textOf("stdout");
  const stderr = task.tail.textOf("stderr");
  if (stdout.includes(REPLACEMENT) || stderr.includes(REPLACEMENT)) return null;
  const sizes = [task.tail.bytesOf("stdout"), task.tail.bytesOf("stderr")];
  return JSON.stringify([task.state, task.exitCode, task.signal, anonymousError(task), sizes, stdout, stderr]);
}
