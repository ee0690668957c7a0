// Measures images per second of the training step, per number of workers and against PyTorch.
import { requireProcesses, requireThreads, usableCores } from "../device/cores.js";
import { type DeviceChoice, deviceChoices } from "../device/device.js";
import { defaultWorkers, requireGpus } from "../device/gpus.js";
import { expectDevice } from "../device/open.js";
import { UsageError } from "../errors.js";
import { type Precision, precisions } from "../graph/compiled.js";
import { pinModel } from "../models/models.js";
import { isModule } from "../modules/pinned.js";
import { requireOptions } from "../recipe/options.js";
import { choosePrecision } from "../recipe/recipe.js";
import { currentVoice, nameOf, setting } from "../recipe/voice.js";
import { environment, type MachineEnvironment } from "../system/environment.js";
import { plural, shown } from "../text/words.js";
import type { StepSettings } from "./contender.js";
import type { StepParts } from "./parts.js";
import { startPyTorch } from "./pytorch.js";
import { type ContenderResult, defaultRounds, race, ratioOf } from "./race.js";
import { type Scaling, scalingOf } from "./scaling.js";
import { stepSettings } from "./settings.js";
import type { Count } from "./variants.js";
import { type Crew, startWorkers } from "./workers.js";

export interface ThroughputOptions {
  /** A network by name, or the path of a module; "resnet50" by default. */
  model?: string;
  /** n, the images of each worker; with `strong` kn, those of all together. 16 by default. */
  batch?: number;
  /** By default bf16 on a GPU, fp32 on the CPU. */
  precision?: Precision;
  device?: DeviceChoice;
  /** Worker counts to compare; by default 1, and the number of GPUs if there are several. */
  workers?: readonly number[];
  /** CPU threads per worker; by default the cores divided among the largest number of workers. */
  threads?: number;
  /** Steps of a round; by default about three seconds' worth. */
  steps?: number;
  /** Strong scaling: the images of a step stay the same, and are divided among the workers. */
  strong?: boolean;
  /** Times the same step in PyTorch in turn. */
  against?: "pytorch";
  /** Called with what is measured next, in a few words, and what part of all is done, from 0 to 1. */
  onProgress?: (text: string, share: number) => void;
}

const optionNames = [
  ...(["model", "batch", "precision", "device", "workers", "threads", "steps", "strong"] as const),
  ...(["against", "onProgress"] as const),
] satisfies (keyof ThroughputOptions)[];

/** One of onehour's numbers of workers, which has `scaling`, or PyTorch, which has none. */
export type ThroughputRow = ContenderResult & { scaling?: Scaling };

export interface ThroughputResult {
  benchmark: "throughput";
  settings: StepSettings & { strong: boolean };
  device: string;
  /** Of a round. */
  steps: number;
  /** The largest rate of matrix products on one worker's device, in floating-point operations a second. */
  peak: number;
  /** In rising order of workers. */
  results: ThroughputRow[];
  /** onehour's images per second over PyTorch's, median of the rounds' ratios. */
  ratio?: number;
  environment: MachineEnvironment;
}

/**
 * Measures the whole step (forward, backward, all-reduce, update) on images that are in place already,
 * in processes of its own. Numbers of workers take turns, in one world of the largest.
 *
 * @throws OnehourError the error of a worker that fails (ERR_ONEHOUR_WORKERS where it had no code),
 *   ERR_ONEHOUR_USAGE for an option that cannot be meant, ERR_USAGE for more workers or threads than a
 *   machine can have, ERR_ONEHOUR_RECIPE for a precision that the device cannot do, ERR_ONEHOUR_MODEL for
 *   a network that there is not, ERR_ONEHOUR_PYTORCH without PyTorch
 */
export async function throughput(options: ThroughputOptions = {}): Promise<ThroughputResult> {
  const { counts, settings } = await settingsOf(options);
  const { steps } = options;
  const rivals = options.against ? 1 : 0;
  const say = progressOf(options, countContenders(counts) + rivals);
  const largest = counts.at(-1)!.workers;
  say(`starting ${plural(largest, "worker")}`);
  const crew = await startWorkers(counts, settings, true);
  let rival: Awaited<ReturnType<typeof startPyTorch>> | undefined;
  try {
    const contenders = counts.flatMap(({ workers }) => [
      crew.contender(workers),
      ...(workers > 1 ? [crew.contender(workers, "alone")] : []),
    ]);
    if (options.against) {
      say("starting PyTorch");
      rival = await startPyTorch(settings, crew.device.kind);
    }
    const raced = await race([...contenders, ...(rival ? [rival] : [])], {
      steps,
      onRound: (round, { name, workers }) =>
        say(
          (round === 0 ? "warm-up" : `round ${round} of ${defaultRounds}`) +
            `: ${plural(workers, "worker")}${name.replace("onehour", "")}`,
        ),
    });
    const parts = await measureParts(crew, counts, say);
    const results: ThroughputRow[] = [];
    raced.results.forEach((result, i) => {
      const at = counts.findIndex(({ workers }) => workers === result.workers);
      if (i >= contenders.length) results.push(result);
      else if (result.name === "onehour") {
        const alone = result.workers > 1 ? raced.times[i + 1] : undefined;
        const scaling = scalingOf({
          ...{ batch: counts[at]!.batch, steps: raced.steps, step: raced.times[i]!, alone },
          ...{ parts: parts[at]!, peak: crew.peak },
        });
        results.push({ ...result, scaling });
      }
    });
    const ratio = ratioOf(results);
    return {
      benchmark: "throughput",
      settings,
      device: crew.device.name,
      steps: raced.steps,
      peak: crew.peak,
      results: withEfficiency(results),
      ...(ratio === undefined ? {} : { ratio }),
      environment: environment(),
    };
  } finally {
    await rival?.close();
    await crew.close();
  }
}

const countContenders = (counts: readonly Count[]) =>
  counts.reduce((sum, { workers }) => sum + (workers > 1 ? 2 : 1), 0);

/** Tells of a stage: the starts, each contender's warm-up and rounds, the rounds of the instructions. */
function progressOf({ onProgress, against }: ThroughputOptions, contenders: number) {
  const stages = (against ? 2 : 1) + contenders * (1 + defaultRounds) + defaultRounds;
  let begun = 0;
  return (text: string) => onProgress?.(text, begun++ / stages);
}

/** Each number's step without its collectives, instruction by instruction, in turn. */
async function measureParts(
  crew: Crew,
  counts: readonly Count[],
  say: (text: string) => void,
): Promise<StepParts[][]> {
  const parts: StepParts[][] = counts.map(() => []);
  for (let round = 1; round <= defaultRounds; round++) {
    say(`instructions, round ${round} of ${defaultRounds}`);
    for (const [i, { workers }] of counts.entries()) parts[i]!.push(await crew.measure(workers));
  }
  return parts;
}

/** Adds each number's efficiency against one worker, where one was measured. */
function withEfficiency(results: readonly ThroughputRow[]): ThroughputRow[] {
  const one = results.find(({ workers, scaling }) => workers === 1 && scaling);
  return results.map((row) => {
    if (one === undefined || row.scaling === undefined) return row;
    const efficiency = row.imagesPerSecond / (row.workers * one.imagesPerSecond);
    return { ...row, scaling: { ...row.scaling, efficiency } };
  });
}

const refuse = (problem: string) => new UsageError("ERR_ONEHOUR_USAGE", problem);

function requireWhole(name: "batch" | "steps", value: number): void {
  if (Number.isInteger(value) && value >= 1) return;
  throw refuse(`${nameOf(name)} is ${shown(value)}, expected a whole number of at least 1`);
}

function requireOneOf<T>(name: "device" | "precision", value: T, known: readonly T[]): void {
  if (value === undefined || known.includes(value)) return;
  throw refuse(`${nameOf(name)} is ${shown(value)}, expected one of ${known.join(", ")}`);
}

/** The counts in rising order, each once, with what each worker has to do. */
async function settingsOf(options: ThroughputOptions): Promise<{
  counts: Count[];
  settings: StepSettings & { strong: boolean };
}> {
  requireOptions(options, "throughput", optionNames);
  const { batch = 16, steps = 1, strong = false } = options;
  requireWhole("batch", batch);
  requireWhole("steps", steps);
  if (typeof strong !== "boolean")
    throw refuse(`strong is ${shown(strong)}, expected true or false`);
  requireOneOf("device", options.device, deviceChoices);
  requireOneOf("precision", options.precision, precisions);
  if (options.against !== undefined && options.against !== "pytorch")
    throw refuse(`against is ${shown(options.against)}, expected "pytorch"`);
  const model = await pinModel(options.model ?? "resnet50");
  const device = expectDevice(options.device ?? "auto");
  const { kind } = device;
  const precision = choosePrecision(options.precision, device);
  const gpus = kind === "cuda" ? defaultWorkers() : 1;
  const workers = countsOf(options.workers ?? (gpus > 1 ? [1, gpus] : [1]));
  const largest = workers.at(-1)!;
  if (kind === "cuda") requireGpus(largest);
  const { threads = Math.max(1, Math.floor(usableCores() / largest)) } = options;
  requireThreads(threads);
  const common = stepSettings({ model, batch, precision, device: kind, threads });
  if (options.against) requireRival(model, workers);
  const counts = workers.map((count) => ({
    workers: count,
    batch: strong ? share(batch, count) : batch,
  }));
  return { counts, settings: { ...common, strong } };
}

function countsOf(workers: readonly number[]): number[] {
  if (!Array.isArray(workers) || workers.length === 0)
    throw refuse(
      `${nameOf("workers")} is ${shown(workers)}, expected numbers of workers, as [1, 2]`,
    );
  for (const count of workers) requireProcesses(count);
  return [...new Set(workers)].sort((a, b) => a - b);
}

/** Images of each worker where they divide `batch` among them. */
function share(batch: number, workers: number): number {
  if (batch % workers === 0) return batch / workers;
  throw refuse(
    `${setting("batch", batch)} does not divide among ${plural(workers, "worker")}, and strong scaling ` +
      `divides the images of a step; take a multiple of ${workers}, for example ` +
      setting("batch", workers * Math.ceil(batch / workers)),
  );
}

function requireRival(model: string, workers: readonly number[]): void {
  const against = currentVoice() === "flags" ? "--against pytorch" : 'against: "pytorch"';
  if (isModule(model))
    throw refuse(
      `${against} needs a model that PyTorch has too, for example ${setting("model", "resnet50")}`,
    );
  if (!workers.includes(1))
    throw refuse(`${against} compares one process with one: add 1 to ${nameOf("workers")}`);
}
