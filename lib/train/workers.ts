// Starts the worker processes of a run and follows rank 0's events.

import { fileURLToPath } from "node:url";
import { isBuiltIn } from "../data/datasets.js";
import { OnehourError } from "../errors.js";
import { isBuiltInModel } from "../models/models.js";
import { launch } from "../ranks/launch.js";
import { signalOf } from "../ranks/signals.js";
import { refuse } from "../recipe/fields.js";
import { nameOf, type Voice } from "../recipe/voice.js";
import { hasWholeCheckpoint } from "../run-folder/last-checkpoint.js";
import { commandLine, resumeCommand } from "../text/command.js";
import type { Result, RunEvent } from "./events.js";
import type { RunRecipe } from "./prepare.js";

/** The job of a worker, as JSON in the environment variable `jobVariable`. */
export interface Job {
  recipe: RunRecipe;
  resume: boolean;
  /** How its messages name fields. */
  voice: Voice;
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

/** The worker's program: compiled, or TypeScript in a checkout. */
function workerProgram(): string {
  const own = fileURLToPath(import.meta.url);
  return own.replace(/workers(\.[jt]s)$/, "worker$1");
}

/**
 * Runs a job in k processes. Resolves with rank 0's result; throws what a worker failed of, with
 * its code or else ERR_ONEHOUR_WORKERS, after the launcher has shown the details. Throws
 * ERR_ONEHOUR_RECIPE for a data set or a model that a script has added, which the processes do not know.
 */
export async function superviseWorkers(
  job: Job,
  onEvent: (event: RunEvent) => void,
): Promise<Result> {
  const { recipe } = job;
  const own = !isBuiltIn(recipe.dataset)
    ? `the data set "${recipe.dataset}"`
    : !isBuiltInModel(recipe.model)
      ? `the model "${recipe.model}"`
      : undefined;
  if (own !== undefined)
    throw refuse(
      "workers",
      `${own} is the script's own, which worker processes do ` +
        "not know; make it the default export of a module and name that, train with one worker, or " +
        "run the script in every process: " +
        commandLine("launch", "--workers", String(recipe.workers), "script.ts"),
    );
  let result: Result | undefined;
  let steps = 0;
  let failure: OnehourError | undefined;
  const start = performance.now();
  const status = await launch({
    workers: recipe.workers,
    command: () => [workerProgram()],
    timeoutSeconds: recipe.timeout,
    remedy: `raise ${nameOf("timeout")}`,
    env: { [jobVariable]: JSON.stringify(job) },
    onLine: (rank, line, stream) => {
      const event = parseEvent(line);
      if (!event) {
        process[stream].write(rank === 0 ? `${line}\n` : `[${rank}] ${line}\n`);
        return;
      }
      if (event.type === "end") result = event.result;
      if (event.type === "step") steps = event.step + 1;
      onEvent(event);
    },
    onFailure: (cause, code = "ERR_ONEHOUR_WORKERS") => {
      failure = new OnehourError(code, cause);
    },
  });
  const signal = signalOf(status);
  if (result && (status === 0 || signal)) return signal ? { ...result, signal } : result;
  if (failure) {
    const began = steps > 0 || failure.code === "ERR_ONEHOUR_WORKERS";
    if (began && (await hasWholeCheckpoint(recipe.out))) {
      const text = `the last checkpoint is kept; continue with: ${resumeCommand(recipe.out)}`;
      onEvent({ type: "message", text });
    }
    throw failure;
  }
  if (signal) {
    const seconds = (performance.now() - start) / 1000;
    return { status: "interrupted", signal, out: recipe.out, model: recipe.model, steps, seconds };
  }
  throw new OnehourError("ERR_ONEHOUR_WORKERS", "the workers ended before the run did");
}
