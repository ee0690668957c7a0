// Starts the worker processes of a run and follows rank 0's events.

import { fileURLToPath } from "node:url";
import { launch } from "../distributed/launch.js";
import { OnehourError } from "../errors.js";
import type { Result, RunEvent } from "./events.js";
import type { RunRecipe } from "./run.js";

/** What a worker is told to do, as JSON in this environment variable. */
export interface Job {
  recipe: RunRecipe;
  resume: boolean;
}
export const jobVariable = "ONEHOUR_JOB";

/** Begins a line of rank 0's output that is an event in JSON (RFC 7464's record separator). */
const eventMark = "\x1e";

/** An event as a line of output. NaN and infinities, which JSON lacks, travel as text. */
export function formatEvent(event: RunEvent): string {
  return (
    eventMark +
    JSON.stringify(event, (_, value) =>
      typeof value === "number" && !Number.isFinite(value) ? `number:${value}` : value,
    )
  );
}

/** The event of a line; undefined for any other line. */
export function parseEvent(line: string): RunEvent | undefined {
  if (!line.startsWith(eventMark)) return undefined;
  return JSON.parse(line.slice(1), (_, value) =>
    typeof value === "string" && value.startsWith("number:") ? Number(value.slice(7)) : value,
  );
}

/** The worker's program, and how Node runs it: compiled, or as TypeScript in a checkout. */
function workerCommand(): string[] {
  const own = fileURLToPath(import.meta.url);
  if (own.endsWith(".js")) return [own.replace(/workers\.js$/, "worker.js")];
  return [
    "--import",
    import.meta.resolve("jiti/register"),
    own.replace(/workers\.ts$/, "worker.ts"),
  ];
}

/**
 * Runs a job in k processes. Resolves with rank 0's result; throws ERR_ONEHOUR_WORKERS when a
 * worker failed, after the supervisor has shown its rank and error.
 */
export async function superviseWorkers(
  job: Job,
  onEvent: (event: RunEvent) => void,
): Promise<Result> {
  let result: Result | undefined;
  const status = await launch({
    workers: job.recipe.workers,
    command: workerCommand,
    timeoutSeconds: job.recipe.timeout,
    env: { [jobVariable]: JSON.stringify(job) },
    onLine: (line: string) => {
      const event = parseEvent(line);
      if (!event) return false;
      if (event.type === "end") result = event.result;
      onEvent(event);
      return true;
    },
  });
  if (result && (status === 0 || result.status === "interrupted")) return result;
  throw new OnehourError(
    "ERR_ONEHOUR_WORKERS",
    `the run failed; the first worker's error is above. Continue it with: ` +
      `onehour train --resume --out ${job.recipe.out}`,
  );
}
