// `train(recipe)` trains a network: in this process, as one rank of a launch, or in worker processes that
// it starts and follows.

import { dirname, join } from "node:path";
import type { Dataset } from "../data/dataset.js";
import { openDataset } from "../data/datasets.js";
import { requireProcesses, requireThreads } from "../device/cores.js";
import type { Device } from "../device/device.js";
import { defaultWorkers, requireGpus } from "../device/gpus.js";
import { expectDevice, openDevice } from "../device/open.js";
import type { CompiledModel } from "../graph/compile.js";
import { openModel } from "../models/models.js";
import { type Cluster, type Part, readPart } from "../ranks/cluster.js";
import { connect } from "../ranks/connect.js";
import { callOff } from "../ranks/lead.js";
import { ownDescription, remarkOnCores } from "../ranks/neighbours.js";
import { type InterruptionReport, tellLauncher } from "../ranks/report.js";
import { requeueing } from "../ranks/requeue.js";
import type { Restart } from "../ranks/restart-policy.js";
import { alone, dedicate, explain, lastWords, type World } from "../ranks/world.js";
import type { Field } from "../recipe/field.js";
import type { PartialRecipe, Recipe, RecipeInput } from "../recipe/fields.js";
import { requirePossible, resolveRecipe } from "../recipe/recipe.js";
import { type FieldName, table } from "../recipe/table.js";
import { currentVoice, nameOf } from "../recipe/voice.js";
import { claimRunFolder, type Resume, releaseRunFolder } from "../run-folder/run-folder.js";
import { guardOutput } from "../system/output.js";
import type { Result, RunEvent } from "./events.js";
import { type Input, type InputOptions, readGiven, readTogether, timeoutOf } from "./input.js";
import { requireOfLoop } from "./loop-fields.js";
import { listenerOf, requireTrainOptions, type TrainOptions } from "./options.js";
import { compileRecipe, type RunRecipe } from "./prepare.js";
import { runRank } from "./run.js";
import type { Job, Supervision } from "./workers.js";

/** What a recipe names, opened. */
interface Parts extends Disposable {
  dataset: Dataset;
  device: Device;
}

/** Opens the device and then, unless it makes the recipe impossible, the data set. */
async function open(
  recipe: PartialRecipe,
  localWorkers: number,
  onEvent: (event: RunEvent) => void = () => {},
): Promise<Parts> {
  const { threads, bind } = recipe;
  const device = openDevice({
    device: recipe.device,
    bind,
    ...(threads === undefined ? {} : { threads }),
  });
  try {
    if (recipe.model !== undefined) await openModel(recipe.model);
    requirePossible(recipe, { device: device.properties });
    const dataset = await openFor(recipe, localWorkers, onEvent);
    const dispose = () => {
      device.dispose();
      dataset[Symbol.dispose]?.();
    };
    return { dataset, device, [Symbol.dispose]: dispose };
  } catch (error) {
    device.dispose();
    throw error;
  }
}

/** The recipe for a data set, a device and a number of workers. */
function resolveFor(
  partial: PartialRecipe,
  dataset: Dataset,
  device: ReturnType<typeof expectDevice>,
  workers: number,
): Recipe {
  return resolveRecipe({ ...partial, workers }, { dataset, device });
}

/** Opens the recipe's data set; lists of files are kept in the run folder's parent. */
async function openFor(
  partial: PartialRecipe,
  localWorkers: number,
  onEvent: (event: RunEvent) => void,
): Promise<Dataset> {
  const { dataset, imageSize, testImageSize, testResize, colorJitter, strict, out } = partial;
  return await openDataset(dataset, {
    imageSize,
    testImageSize,
    testResize,
    colorJitter,
    strict,
    localWorkers,
    indexFolder: join(out === undefined ? "runs" : dirname(out), ".indexes"),
    say: (stage) => onEvent({ type: "progress", ...stage }),
    warn: (text) => onEvent({ type: "message", text }),
  });
}

/** Calls `run` with the folder that the recipe names, or one that is made for it. */
async function inRunFolder<T>(recipe: Recipe, run: (recipe: RunRecipe) => Promise<T>): Promise<T> {
  const { out, dataset, model } = recipe;
  if (out !== undefined) return await run({ ...recipe, out });
  const folder = await claimRunFolder(dataset, model);
  try {
    return await run({ ...recipe, out: folder });
  } catch (error) {
    await releaseRunFolder(folder);
    throw error;
  }
}

/**
 * Trains a network. In a process of its own it trains there with one worker, and starts worker
 * processes for more; in a process that `onehour launch`, torchrun, Slurm or MPI started it joins
 * the others as its rank. On one of several nodes, by `cluster` or by what its engine says, it starts the
 * workers of that node.
 *
 * Resolves at the end, or when SIGTERM, SIGINT, SIGUSR1, SIGUSR2 or, where a terminal is attached, SIGHUP
 * came to any rank: then the step was finished and saved, and `status` is "interrupted". Throws
 * OnehourError: ERR_ONEHOUR_RECIPE for an impossible recipe, ERR_ONEHOUR_DATA, ERR_ONEHOUR_RUN_FOLDER and
 * ERR_ONEHOUR_CHECKPOINT for what cannot be read or written, ERR_ONEHOUR_NOT_FINITE when a step gave NaN or infinity,
 * ERR_ONEHOUR_RANKS_DIFFER. The error of a worker process has its code and names its rank;
 * ERR_ONEHOUR_WORKERS where a worker gave no code, or hung, ERR_ONEHOUR_NODE_LOST where a machine was lost.
 * Source: Goyal et al. 2017.
 */
export async function train(input: RecipeInput, options: TrainOptions = {}): Promise<Result> {
  const result = await trainHere(input, options);
  // Under `onehour launch` the exit status is then the signal's, whichever rank it came to.
  if (result.signal) tellLauncher({ interrupted: result.signal } satisfies InterruptionReport);
  return result;
}

async function trainHere(input: RecipeInput, options: TrainOptions): Promise<Result> {
  guardOutput();
  const onEvent = listenerOf(options, "train");
  const asked = { resume: options.resume ?? false, onEvent };
  const { world } = options;
  if (world)
    return await trainAsRank(readGiven(input, asked.resume, world.worldSize), world, asked);
  const given = readGiven(input, asked.resume);
  const device = given.device ?? "auto";
  const own = () => workersFor({}, expectDevice(device).kind);
  const part = readPart(options.cluster, { workers: given.workers, own });
  const { place, cluster } = part;
  if (place.note !== undefined) onEvent({ type: "message", text: place.note });
  const run = () => trainPart(part, given, asked);
  // One process of a job asks for all of it.
  const leads = cluster ? cluster.nodeRank === 0 : place.level === "rank" && place.rank === 0;
  return options.cluster?.requeue && leads
    ? await requeueing(run, (text) => onEvent({ type: "message", text }))
    : await run();
}

/** Does this process' part of a run. */
async function trainPart(
  { cluster, workers, startSeconds }: Part,
  given: RecipeInput,
  asked: InputOptions,
): Promise<Result> {
  const { resume, onEvent } = asked;
  if (cluster === undefined)
    return await joinAsRank(readGiven(given, resume, workers), startSeconds, asked);
  const device = given.device ?? "auto";
  const facts = askedFor(given, resume);
  if (cluster.nodeRank > 0) {
    requireRoom(cluster.workersPerNode, given, expectDevice(device).kind);
    const { serveRun } = await import("./workers.js");
    return await serveRun(given, { cluster, facts, onEvent });
  }
  const all = workers === undefined ? given : { ...given, workers };
  if (cluster.nodes === 1)
    return await trainOn(cluster, await readTogether(all, alone, asked), { facts, onEvent });
  return await leadNodes(cluster, all, facts, asked);
}

/** Leads a run on several nodes; if it cannot begin, those that wait for this node are told why. */
async function leadNodes(
  cluster: Cluster,
  given: RecipeInput,
  facts: Supervision["facts"],
  asked: InputOptions,
): Promise<Result> {
  const { onEvent } = asked;
  let haveMet = false;
  const onMeet = () => {
    haveMet = true;
  };
  try {
    // Another node's disk may hold the run that must go on, if its data set is known here.
    const isOpen = asked.resume === true && given.dataset !== undefined;
    const settled = await readTogether(given, alone, isOpen ? { ...asked, resume: "auto" } : asked);
    const input = { ...settled, asked: { given, resume: asked.resume } };
    return await trainOn(cluster, input, { facts, onEvent, onMeet });
  } catch (error) {
    if (!haveMet) await callOff(cluster, error as Error);
    throw error;
  }
}

/** Trains as one of the ranks that an engine has started. */
async function joinAsRank(
  given: RecipeInput,
  startTimeoutSeconds: number,
  options: InputOptions,
): Promise<Result> {
  const timeoutSeconds = await timeoutOf(given, options.resume);
  const world = await connect({ timeoutSeconds, startTimeoutSeconds });
  dedicate(world);
  try {
    return await trainAsRank(given, world, options);
  } catch (error) {
    throw lastWords(world, await explain(world, error));
  } finally {
    await world.close();
  }
}

/** Trains in this process, or in worker processes of a cluster whose node 0 this is. */
async function trainOn(
  cluster: Cluster,
  { partial, resume, ...again }: Input & Pick<Job, "asked">,
  supervision: Omit<Supervision, "cluster">,
): Promise<Result> {
  const { onEvent } = supervision;
  const expected = expectDevice(partial.device);
  const workers = workersFor(partial, expected.kind);
  if (workers === 1 && cluster.maxRestarts === 0) {
    // On the CPU, a message has said why no GPU is used.
    const device = expected.kind === "cpu" ? "cpu" : partial.device;
    const remark = remarkOnCores([ownDescription(0)]);
    if (remark !== undefined) onEvent({ type: "message", text: remark });
    using parts = await open({ ...partial, workers, device }, 1, onEvent);
    const resolved = resolveFor(partial, parts.dataset, parts.device.properties, 1);
    return await inRunFolder(resolved, (recipe) =>
      runRank({ ...parts, recipe, resume, world: alone, onEvent }),
    );
  }
  const workersPerNode = workers / cluster.nodes;
  requireRoom(workersPerNode, partial, expected.kind);
  if (partial.model !== undefined) await openModel(partial.model);
  requirePossible({ ...partial, workers }, { device: expected });
  const dataset = await openFor(partial, 1, onEvent);
  dataset[Symbol.dispose]?.(); // the workers decode by themselves
  const resolved = resolveFor(partial, dataset, expected, workers);
  return await inRunFolder(resolved, async (recipe) => {
    const { superviseWorkers } = await import("./workers.js");
    return await superviseWorkers(
      { recipe, resume, ...again, voice: currentVoice() },
      { ...supervision, cluster: { ...cluster, workersPerNode } },
    );
  });
}

/** Refuses more worker processes or threads than one can mean on this machine, or than it has GPUs. */
function requireRoom(
  workers: number,
  { threads }: Pick<RecipeInput, "threads">,
  kind: "cpu" | "cuda",
): void {
  requireProcesses(workers);
  if (threads !== undefined) requireThreads(threads);
  if (kind === "cuda") requireGpus(workers);
}

/** What the user of every node must have asked for alike, by the names that the user knows. */
function askedFor(given: RecipeInput, resume: Resume): Record<string, unknown> {
  const shared = Object.entries(given).filter(
    ([key]) => key !== "workers" && (table[key as FieldName] as Field).perRank !== true,
  );
  const facts = shared.map(([key, value]) => [nameOf(key as FieldName), value]);
  return { ...Object.fromEntries(facts), [nameOf("resume")]: resume };
}

function workersFor({ workers }: RecipeInput, kind: "cpu" | "cuda"): number {
  return workers ?? (kind === "cuda" ? defaultWorkers() : 1);
}

interface RankOptions {
  resume: boolean;
  onEvent: (event: RunEvent) => void;
}

/** The ranks of a machine open the same files, and one of them reports progress. */
function onceAMachine(
  world: World,
  { onEvent }: Pick<RankOptions, "onEvent">,
): RankOptions["onEvent"] {
  return world.localRank === 0 ? onEvent : () => {};
}

/** Trains as one rank of a world, with what every rank was given. */
export async function trainAsRank(
  given: RecipeInput,
  world: World,
  options: InputOptions & { restart?: Restart | undefined },
): Promise<Result> {
  const { partial, resume } = await readTogether(given, world, options);
  const { onEvent, restart } = options;
  const { worldSize: workers, localWorldSize } = world;
  using parts = await open(partial, localWorldSize, onceAMachine(world, options));
  const resolved = resolveFor(partial, parts.dataset, parts.device.properties, workers);
  const run = async (own: Pick<RunRecipe, "out">) => {
    // Rank 0 writes, so that its folder counts.
    const [out] = await world.gather("out", own.out);
    const recipe = { ...resolved, out: out! };
    return await runRank({ ...parts, onEvent, resume, restart, recipe, world });
  };
  return world.rank === 0 ? await inRunFolder(resolved, run) : await run({ out: "" });
}

/** Trains as one rank of a world, with the recipe that the process which started it has resolved. */
export async function trainAsWorker(
  recipe: RunRecipe,
  world: World,
  options: RankOptions & { restart?: Restart | undefined },
): Promise<Result> {
  using parts = await open(recipe, world.localWorldSize, onceAMachine(world, options));
  return await runRank({ ...parts, ...options, recipe, world });
}

/** What a script's own loop is made of: the recipe resolved for one rank, and what it names, opened. */
export async function prepareLoop(
  input: RecipeInput,
  world: World,
  options: InputOptions,
): Promise<Parts & { recipe: Recipe; resume: boolean }> {
  const { worldSize: workers, localWorldSize } = world;
  const given = readGiven(input, options.resume, workers);
  requireOfLoop(given);
  const { partial, resume } = await readTogether(given, world, options);
  const parts = await open(partial, localWorldSize, onceAMachine(world, options));
  try {
    const recipe = resolveFor(partial, parts.dataset, parts.device.properties, workers);
    return { ...parts, recipe, resume };
  } catch (error) {
    parts[Symbol.dispose]();
    throw error;
  }
}

/** The programs of a run, without running it; also what they are compiled for. */
export async function compileRun(
  input: RecipeInput,
  options: Pick<TrainOptions, "resume"> = {},
): Promise<CompiledModel> {
  requireTrainOptions(options, "compileRun", ["resume"]);
  const { resume = false } = options;
  const { out, ...fields } = readGiven(input, resume);
  // Nothing is written, so that the folder of a run that begins may hold another.
  const given = resume === false ? fields : { ...fields, out };
  const { partial } = await readTogether(given, alone, { resume, onEvent: () => {} });
  const { kind } = expectDevice(partial.device);
  const workers = workersFor(partial, kind);
  using parts = await open({ ...partial, workers, device: kind }, 1);
  const recipe = resolveFor(partial, parts.dataset, parts.device.properties, workers);
  return compileRecipe(recipe, parts.dataset, parts.device);
}
