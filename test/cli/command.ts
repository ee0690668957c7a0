// Runs the compiled `onehour` command as a user does.
import { fileURLToPath } from "node:url";
import { childrenOf, type Ended, type Run, type StartOptions, start } from "../support/process.js";

export const main = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));

/** The command as `onehour` below types it. */
export const typed = `${process.execPath} ${main}`;

interface Options extends StartOptions {
  /** Sent once `when` holds: to the command, or to the process that `to` finds from its pid. */
  signal?: {
    name: NodeJS.Signals;
    when: (run: Run) => boolean;
    to?: (pid: number) => number;
  };
  /** Stop reading once the output holds this. */
  readUntil?: string;
}

/** Runs `onehour` with `args` and waits until it ends. */
export async function onehour(
  args: readonly string[],
  { signal, readUntil, ...options }: Options = {},
): Promise<Ended> {
  const run = start([process.execPath, main, ...args], options);
  const { pid, stdout } = run.child;
  if (readUntil !== undefined)
    stdout!.on("data", () => run.stdout.includes(readUntil) && stdout!.destroy());
  const watch = setInterval(() => {
    if (signal?.when(run) !== true) return;
    clearInterval(watch);
    process.kill(signal.to?.(pid!) ?? pid!, signal.name);
  }, 20);
  return await run.ended.finally(() => clearInterval(watch));
}

/** What a command line wrote, and its status. */
export interface Outcome {
  words: string[];
  stdout: string;
  stderr: string;
  status?: number;
}

/**
 * Runs command lines that end by themselves in the folder `cwd`, all in one process, for one takes a hundred times as
 * long to start as a line to be refused; resolves to what each did, by its words.
 */
export async function outcomesOf(
  lines: readonly (readonly string[])[],
  cwd: string,
): Promise<Map<string, Outcome>> {
  const script = fileURLToPath(new URL("scripts/command-lines.mjs", import.meta.url));
  const command = [process.execPath, script, main, JSON.stringify(lines)];
  const { stdout, stderr, status } = await start(command, {
    cwd,
    env: { ONEHOUR_COMMAND: typed },
  }).ended;
  const outcomes = stdout.split("\n").filter(Boolean);
  if (stderr !== "" || outcomes.length < lines.length)
    throw new Error(
      `status ${status} after ${outcomes.length} of ${lines.length} lines: ${stderr}`,
    );
  return new Map(
    outcomes.map((text) => {
      const outcome: Outcome = JSON.parse(text);
      return [outcome.words.join(" "), outcome];
    }),
  );
}

/** The process that `pid` started first; throws where there is none. */
export const firstChild = (pid: number): number => childAt(pid, 0);

/** The process that `pid` started last; throws where there is none. */
export const lastChild = (pid: number): number => childAt(pid, -1);

function childAt(pid: number, index: number): number {
  const child = childrenOf(pid).at(index);
  if (child === undefined) throw new Error(`process ${pid} has started no other`);
  return child;
}
