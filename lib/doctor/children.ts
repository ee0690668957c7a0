// The processes that the doctor starts: none outlives it, nor does what they have started, and it waits for none that
// does not end.
import type { ChildProcess } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";

const running = new Set<ChildProcess>();

export function follow(child: ChildProcess): void {
  running.add(child);
  child.once("exit", () => running.delete(child));
}

/** What a process has started, threads of it included; none where the system does not tell. */
function childrenOf(pid: number): number[] {
  try {
    const tasks = readdirSync(`/proc/${pid}/task`);
    const texts = tasks.map((task) => readFileSync(`/proc/${pid}/task/${task}/children`, "utf8"));
    return texts.flatMap((text) => text.split(" ").filter(Boolean).map(Number));
  } catch {
    return [];
  }
}

/** Kills a process and all that it has started; returns their numbers. */
function killTree(pid: number): number[] {
  const children = childrenOf(pid); // whose parent is another one once this one is gone
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has ended.
  }
  return [pid, ...children.flatMap(killTree)];
}

/** Whether a process is there, and no zombie that only waits for its parent to look. */
function isAlive(pid: number): boolean {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}

const patienceMilliseconds = 1000;
const nap = new Int32Array(new SharedArrayBuffer(4));

/** Blocks until processes that were killed are gone; one that waits for a disk or a driver is not, and is left. */
function awaitEnd(pids: readonly number[]): void {
  const deadline = performance.now() + patienceMilliseconds;
  while (pids.some(isAlive) && performance.now() < deadline) Atomics.wait(nap, 0, 0, 5);
}

/** Kills processes with all that they have started. */
function end(children: readonly ChildProcess[]): void {
  const pids = children.flatMap(({ pid }) => (pid === undefined ? [] : killTree(pid)));
  for (const child of children) {
    child.unref();
    if (child.connected) child.disconnect();
    // What could not be killed may hold them open.
    child.stdout?.destroy();
    child.stderr?.destroy();
  }
  awaitEnd(pids);
}

export const abandon = (child: ChildProcess) => end([child]);

export const abandonAll = () => end([...running]);

process.once("exit", abandonAll);
