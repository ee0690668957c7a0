// Runs the compiled `onehour` command as a user does.
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

export const main = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));

/** The command as `onehour` below types it. */
export const typed = `${process.execPath} ${main}`;

export interface Ended {
  status: number | null;
  stdout: string;
  stderr: string;
}

/** Runs `onehour` with `args` and waits until it ends. */
export function onehour(
  args: readonly string[],
  options: {
    cwd?: string;
    env?: Record<string, string>;
    /** Sent once the output holds `after`, or `when` is true. */
    signal?: {
      name: NodeJS.Signals;
      after?: string;
      when?: (pid: number) => boolean;
      /** The process to signal, by default the command itself. */
      to?: (pid: number) => number;
    };
    /** Stop reading once the output holds this. */
    readUntil?: string;
  } = {},
): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [main, ...args], {
      cwd: options.cwd,
      env: { ...process.env, ...options.env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let { signal } = options;
    const watch = setInterval(() => {
      if (signal?.when?.(child.pid!) !== true) return;
      const { name, to = (pid) => pid } = signal;
      process.kill(to(child.pid!), name);
      signal = undefined;
    }, 50);
    const ended = { stdout: "", stderr: "" };
    child.stdout.on("data", (chunk) => {
      ended.stdout += chunk;
      if (options.readUntil !== undefined && ended.stdout.includes(options.readUntil))
        child.stdout.destroy();
      if (signal?.after !== undefined && ended.stdout.includes(signal.after)) {
        process.kill((signal.to ?? ((pid) => pid))(child.pid!), signal.name);
        signal = undefined;
      }
    });
    child.stderr.on("data", (chunk) => {
      ended.stderr += chunk;
    });
    child.on("error", reject);
    child.on("close", (status) => {
      clearInterval(watch);
      resolve({ status, ...ended });
    });
  });
}

/** The processes that `pid` started, in that order. */
function childrenOf(pid: number): number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
  return text.split(" ").map((child) => Number.parseInt(child, 10));
}

/** The process that `pid` started first; NaN where there is none. */
export const firstChild = (pid: number): number => childrenOf(pid)[0]!;

/** The process that `pid` started last. */
export const lastChild = (pid: number): number => childrenOf(pid).at(-1)!;
