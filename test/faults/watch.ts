// Runs seeds in a process and watches it: reports a seed that fails, ends the process or hangs,
// with its plan, and still runs the seeds after it.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Bug } from "./bugs.js";

/** Time limit of a seed, with room for a busy machine. */
const patience = 180_000; // ms

export interface Failure {
  seed: number;
  /** What happened, and the plan of the seed. */
  text: string;
}

export interface WatchOptions {
  first: number;
  last: number;
  /** A known bug to put back. */
  bug?: Bug;
  /** Stops after this many failures. */
  enough?: number;
  onSeed?: (seed: number) => void;
}

/** Where the runner finds the package: compiled where the tests run so, else its sources. */
function alias(): Record<string, string> {
  const compiled = process.env.ONEHOUR_TEST_COMPILED === "1";
  const dist = fileURLToPath(new URL("../../dist", import.meta.url));
  return compiled ? { JITI_ALIAS: JSON.stringify({ "../../lib": dist }) } : {};
}

/** Runs seeds `first` to `last` in two processes, and resolves to what failed. */
export async function runSeeds(options: WatchOptions): Promise<Failure[]> {
  const { first, last, enough = 10 } = options;
  const middle = Math.floor((first + last) / 2);
  const failures: Failure[] = [];
  const found = new AbortController(); // enough of them
  const part = async (from: number, to: number) => {
    for (let next = from; next <= to && !found.signal.aborted; ) {
      const failure = await untilFailure({ ...options, first: next, last: to }, found.signal);
      if (!failure) break;
      failures.push(failure);
      if (failures.length >= enough) found.abort();
      next = failure.seed + 1;
    }
  };
  await Promise.all([part(first, middle), part(middle + 1, last)]);
  return failures.sort((a, b) => a.seed - b.seed);
}

/** The first failure of a process that runs the seeds, which ends without one where `stop` is aborted. */
async function untilFailure(
  options: WatchOptions,
  stop: AbortSignal,
): Promise<Failure | undefined> {
  const { first, last, bug, onSeed } = options;
  const runner = fileURLToPath(new URL("runner.ts", import.meta.url));
  const child = spawn(
    process.execPath,
    ["--import", "jiti/register", runner, String(first), String(last)],
    {
      cwd: fileURLToPath(new URL("../..", import.meta.url)),
      env: {
        ...process.env,
        ...alias(),
        ...(bug === undefined ? {} : { ONEHOUR_FAULTS_BUG: bug }),
      },
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
    },
  );
  let seed = first;
  let text = "";
  const bark = () => {
    text += `it did not end within ${patience / 1000} s`;
    process.kill(-child.pid!, "SIGKILL");
  };
  const end = () => child.kill("SIGUSR2");
  stop.addEventListener("abort", end);
  let timer = setTimeout(bark, patience);
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on("line", (line) => {
      const next = /^seed (\d+)$/.exec(line)?.[1];
      if (next === undefined) {
        text += `${line}\n`;
        return;
      }
      seed = Number(next);
      text = "";
      clearTimeout(timer);
      timer = setTimeout(bark, patience);
      onSeed?.(seed);
    });
  }
  const [status, signal] = await new Promise<[number | null, string | null]>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (...end) => resolve(end));
  });
  clearTimeout(timer);
  stop.removeEventListener("abort", end);
  if (status === 0 || stop.aborted) return undefined;
  return { seed, text: text.trim() || `the process ended with ${signal ?? `status ${status}`}` };
}

/** A failure in words, with the command that repeats it. */
export function describeFailure({ seed, text }: Failure): string {
  return `seed ${seed} failed: ${text}\nrepeat it: npm run test:faults -- --seed ${seed}`;
}
