// The processes that the doctor starts: none outlives it, and it waits for none that does not end.
import type { ChildProcess } from "node:child_process";

const running = new Set<ChildProcess>();

export function follow(child: ChildProcess): void {
  running.add(child);
  child.once("exit", () => running.delete(child));
}

/** Kills a process without waiting for its end: one that waits for a disk or a driver cannot be killed. */
export function abandon(child: ChildProcess): void {
  child.kill("SIGKILL");
  child.unref();
  if (child.connected) child.disconnect();
  // What it has started may hold them open.
  child.stdout?.destroy();
  child.stderr?.destroy();
}

export function abandonAll(): void {
  for (const child of running) abandon(child);
}

process.once("exit", abandonAll);
