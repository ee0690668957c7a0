// Starts the worker processes of a run, of this node or of all, and follows rank 0's events.

import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { isBuiltIn } from "../data/datasets.js";
import { OnehourError } from "../errors.js";
import { isBuiltInModel } from "../models/models.js";
import type { Cluster } from "../ranks/cluster.js";
import { launchOn } from "../ranks/launch.js";
import type { StartPlan } from "../ranks/lead.js";
import type { Restart } from "../ranks/restart-policy.js";
import { signalOf } from "../ranks/signals.js";
import { type PartialRecipe, type RecipeInput, refuse, withDefaults } from "../recipe/fields.js";
import { pinModules, withOwnModules } from "../recipe/modules.js";
import { recipeName } from "../recipe/run-recipe.js";
import { nameOf, type Voice } from "../recipe/voice.js";
import { possibleWorkers, sharedFields, withWorkers } from "../recipe/with-workers.js";
import { lastWholeStep } from "../run-folder/last-checkpoint.js";
import type { Resume } from "../run-folder/run-folder.js";
import { exists } from "../system/exists.js";
import type { Stage } from "../terminal/stages.js";
import { commandLine, continuation } from "../text/command.js";
import { plural } from "../text/words.js";
import type { Result, RunEvent } from "./events.js";
import type { RunRecipe } from "./prepare.js";

/** The job of a worker, as JSON in the environment variable `jobVariable`. */
export interface Job {
  recipe: RunRecipe;
  resume: boolean;
  /**
   * Where nodes have disks of their own: what was asked for, so that the workers settle together whether a run
   * goes on, and from which disk. Otherwise node 0 has settled it.
   */
  asked?: { given: RecipeInput; resume: Resume };
  /** Of a start after a failure, for the log. */
  restart?: Restart;
  /** How its messages name fields. */
  voice: Voice;
}
export const jobVariable = "ONEHOUR_JOB";

/** Fields of a recipe in which ranks may differ, as they are on one node. */
export type OwnFields = Pick<PartialRecipe, "threads" | "bind" | "timeout" | "out">;

/** What a node's supervisor works with. */
export interface Supervision {
  cluster: Cluster;
  /** What the user asked for, which must be alike on all nodes. */
  facts: Record<string, unknown>;
  onEvent: (event: RunEvent) => void;
  /** Called when the nodes begin to meet: from then on each hears how the run ends. */
  onMeet?: () => void;
}

/** What happened to the workers. */
interface Watched {
  status: number;
  result: Result | undefined;
  /** Steps done, where rank 0 is here. */
  steps: number;
  failure: OnehourError | undefined;
  seconds: number;
}

/** A worker's result, as a line of output; where rank 0 is, the run's last event has it. */
export interface ResultLine {
  type: "result";
  result: Result;
}

/** Begins a line of rank 0's output that is an event in JSON (RFC 7464's record separator). */
const eventMark = "\x1e";

/** An event as a line of output. NaN and infinities, which JSON lacks, travel as text. */
export function formatEvent(event: RunEvent | ResultLine): string {
  return (
    eventMark +
    JSON.stringify(event, (_, value) =>
      typeof value === "number" && !Number.isFinite(value) ? `number:${value}` : value,
    )
  );
}

/** The event of a line; undefined for any other line. */
export function parseEvent(line: string): RunEvent | ResultLine | undefined {
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
 * Starts this node's workers and follows them to their end; node 0 has the job, and gives it to all. The others
 * have what was typed there.
 */
async function watchWorkers(
  own: OwnFields,
  { cluster, facts, onEvent, onMeet }: Supervision,
  { job, typed }: { job?: Job; typed?: RecipeInput },
): Promise<Watched> {
  const watched: Omit<Watched, "status" | "seconds"> = {
    ...{ result: undefined, steps: 0, failure: undefined },
  };
  const lead = job && {
    brief: (plan: StartPlan) => JSON.stringify(jobFor(plan, job)),
    fits: (workers: number) => possibleWorkers(job.recipe).includes(workers),
    steps: () => watched.steps,
  };
  const show = (stage: Stage) => onEvent({ type: "progress", ...stage });
  const start = performance.now();
  onMeet?.();
  const status = await launchOn({
    ...{ cluster, facts, ...lead },
    command: () => [workerProgram()],
    timeoutSeconds: own.timeout,
    remedy: `raise ${nameOf("timeout")}`,
    env: (text) => {
      const workers = plural(cluster.workersPerNode, "worker");
      if (job) show({ text: `starting ${workers}` });
      return { [jobVariable]: JSON.stringify(jobOf(text, own, typed)) };
    },
    onLine: (rank, line, stream) => {
      const event = parseEvent(line);
      if (!event) {
        process[stream].write(rank === 0 ? `${line}\n` : `[${rank}] ${line}\n`);
        return;
      }
      if (event.type === "end" || event.type === "result") watched.result = event.result;
      if (event.type === "step") watched.steps = event.step + 1;
      if (event.type !== "result") onEvent(event);
    },
    onFailure: (cause, code = "ERR_ONEHOUR_WORKERS") => {
      watched.failure = new OnehourError(code, cause);
    },
    say: (text) => onEvent({ type: "message", text }),
    show,
  });
  return { ...watched, status, seconds: (performance.now() - start) / 1000 };
}

/**
 * The job of a start. After a failure the run goes on from what it has saved, if it has begun, with the workers
 * that are left.
 */
function jobFor({ workers, restart }: StartPlan, { asked, ...settled }: Job): Job {
  const recipe = withWorkers(settled.recipe, workers);
  const isSame = workers === settled.recipe.workers;
  const job = { ...settled, recipe, ...(restart === undefined ? {} : { restart }) };
  const { out } = recipe;
  const resume = restart !== undefined && exists(join(out, recipeName));
  if (asked === undefined) return resume ? { ...job, resume } : job;
  if (!resume) return isSame ? { ...job, asked } : job;
  const shares: readonly string[] = sharedFields;
  const kept = Object.entries(asked.given).filter(([name]) => !shares.includes(name));
  return { ...job, asked: { given: { ...Object.fromEntries(kept), workers, out }, resume } };
}

/** The job that node 0 gives, with this node's own fields, and its modules where it is another's. */
function jobOf(brief: string, own: OwnFields, typed?: RecipeInput): Job {
  const job = JSON.parse(brief) as Job;
  if (typed !== undefined && job.asked !== undefined)
    job.asked.given = withOwnModules(job.asked.given, typed);
  else if (typed !== undefined) job.recipe = pinModules(withOwnModules(job.recipe, typed));
  const { threads, bind, timeout, out } = own;
  const fields = { bind, timeout, ...(threads === undefined ? {} : { threads }) };
  const { threads: _, ...shared } = job.recipe;
  const recipe = { ...shared, ...fields };
  if (job.asked === undefined) return { ...job, recipe };
  const given = { ...job.asked.given, ...fields, ...(out === undefined ? {} : { out }) };
  return { ...job, recipe, asked: { ...job.asked, given } };
}

/** A run's result; throws what a worker failed of. */
function resultOf(
  { status, result, failure, steps, seconds }: Watched,
  names: Pick<Result, "out" | "model">,
): Result {
  if (failure) throw failure;
  const signal = signalOf(status);
  if (result && (status === 0 || signal)) return signal ? { ...result, signal } : result;
  if (signal) return { status: "interrupted", signal, ...names, steps, seconds };
  throw new OnehourError("ERR_ONEHOUR_WORKERS", "the workers ended before the run did");
}

/**
 * Runs a job in k processes. Resolves with rank 0's result; throws what a worker failed of, with
 * its code or else ERR_ONEHOUR_WORKERS, after the launcher has shown the details. Throws
 * ERR_ONEHOUR_RECIPE for a data set or a model that a script has added, which the processes do not know.
 */
export async function superviseWorkers(job: Job, supervision: Supervision): Promise<Result> {
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
        "not know; make it the default export of a module and name that, train with one worker that is not " +
        "restarted, or run the script in every process: " +
        commandLine("launch", "--workers", String(recipe.workers), "script.ts"),
    );
  const { out, model } = recipe;
  const watched = await watchWorkers(recipe, supervision, { job });
  const { failure, steps } = watched;
  const began = steps > 0 || failure?.code === "ERR_ONEHOUR_WORKERS";
  if (failure && began && (await lastWholeStep(out)) !== undefined) {
    const text = `the last checkpoint is kept; continue with: ${continuation(out, supervision.cluster.nodes > 1)}`;
    supervision.onEvent({ type: "message", text });
  }
  return resultOf(watched, { out, model });
}

/**
 * Serves the run that node 0 leads with this node's workers. Resolves and throws as `superviseWorkers`; the
 * result is that of a worker here.
 */
export async function serveRun(typed: RecipeInput, supervision: Supervision): Promise<Result> {
  const watched = await watchWorkers(withDefaults(typed), supervision, { typed });
  return resultOf(watched, { out: "", model: "" });
}
