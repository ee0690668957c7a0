// Runs launchers and ranks as processes and reads the pids that they print.
import { fileURLToPath } from "node:url";
import { type Run, start } from "../support/process.js";

export function script(name: string): string {
  return fileURLToPath(new URL(`scripts/${name}.mjs`, import.meta.url));
}

/** Starts `node` with these arguments. */
export const node = (args: readonly string[], env: Record<string, string> = {}): Run =>
  start([process.execPath, ...args], { env });

export function launcher(workers: number, timeout: number, name: string, ...args: string[]): Run {
  return node([script("launcher"), String(workers), String(timeout), script(name), ...args]);
}

/** The pids that workers printed. */
export function pidsOf(run: Run): number[] {
  return [...run.stdout.matchAll(/pid (\d+)/g)].map((match) => Number(match[1]));
}
