// Runs launchers and ranks as processes and reads the pids that they print.
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

export interface Run {
  child: ChildProcess;
  stdout: string;
  stderr: string;
  /** Resolves at the end with the exit status, and the seconds since the start. */
  ended: Promise<{ status: number | null; signal: NodeJS.Signals | null; seconds: number }>;
}

export function script(name: string): string {
  return fileURLToPath(new URL(`scripts/${name}.mjs`, import.meta.url));
}

/** This process' environment without the variables of any launcher. */
export function launcherFree(): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/RANK|WORLD|SLURM|MASTER|ONEHOUR/.test(name)),
  );
}

/** Starts `node` with these arguments, without the variables of any launcher. */
export function node(args: readonly string[], env: Record<string, string> = {}): Run {
  const start = performance.now();
  const child = spawn(process.execPath, args, {
    env: { ...launcherFree(), ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const run: Run = {
    child,
    stdout: "",
    stderr: "",
    ended: new Promise((resolve, reject) => {
      child.on("error", reject);
      child.on("close", (status, signal) =>
        resolve({ status, signal, seconds: (performance.now() - start) / 1000 }),
      );
    }),
  };
  child.stdout!.on("data", (chunk) => {
    run.stdout += chunk;
  });
  child.stderr!.on("data", (chunk) => {
    run.stderr += chunk;
  });
  return run;
}

export function launcher(workers: number, timeout: number, name: string, ...args: string[]): Run {
  return node([script("launcher"), String(workers), String(timeout), script(name), ...args]);
}

/** Resolves when `condition` holds; throws after `seconds`. */
export async function until(condition: () => boolean, seconds = 300): Promise<void> {
  const deadline = performance.now() + seconds * 1000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`not true after ${seconds} s: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** The pids that workers printed. */
export function pidsOf(run: Run): number[] {
  return [...run.stdout.matchAll(/pid (\d+)/g)].map((match) => Number(match[1]));
}

/** Whether a process exists and is not merely waiting for its parent to notice its end. */
export function isAlive(pid: number): boolean {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}

export function lastLine(text: string): string {
  return text.trimEnd().split("\n").at(-1) ?? "";
}
