// Measures images per second of the training step, per number of workers and against PyTorch.

import { median } from "../arrays/median.js";
import { requireThreads, usableCores } from "../device/cores.js";
import type { DeviceChoice } from "../device/device.js";
import { defaultWorkers, requireGpus } from "../device/gpus.js";
import { expectDevice } from "../device/open.js";
import { UsageError } from "../errors.js";
import { pinModel } from "../models/models.js";
import { isModule, titleOf } from "../modules/pinned.js";
import { choosePrecision } from "../recipe/recipe.js";
import { plural } from "../text/words.js";
import type { Contender, StepSettings } from "./contender.js";
import { startPyTorch } from "./pytorch.js";
import { stepSettings } from "./settings.js";
import { bar, table } from "./table.js";
import { type Device, startWorkers } from "./workers.js";

interface ThroughputOptions {
  model: string;
  /** Images per worker. */
  batch: number;
  /** By default bf16 on a GPU, fp32 on the CPU. */
  precision?: StepSettings["precision"];
  device?: DeviceChoice;
  /** Worker counts to compare; by default 1, and the number of GPUs if there are several. */
  workers?: readonly number[];
  /** CPU threads per worker; by default the cores divided among the largest number of workers. */
  threads?: number;
  /** Steps of a round; by default about three seconds' worth. */
  steps?: number;
  against?: "pytorch";
}

export interface ContenderResult {
  name: string;
  workers: number;
  /** Median of the rounds, all workers together. */
  imagesPerSecond: number;
  rounds: number[];
  /** Bytes per process: what the planner and the kernels asked for, and the largest resident size. */
  plannedBytes?: number;
  peakBytes: number;
}

interface ThroughputResult {
  settings: StepSettings;
  device: string;
  steps: number;
  results: ContenderResult[];
  /** onehour's images per second over PyTorch's, median of the rounds' ratios. */
  ratio?: number;
}

/** Rounds of every contender, one after the other in turn, so that all meet the same machine. */
const roundsEach = 5;

const secondsOfRound = 3;

/**
 * Measures the whole step (forward, backward, all-reduce, update) on images that are in place
 * already. Throws the error of a worker that fails (ERR_ONEHOUR_WORKERS where it had no code),
 * ERR_ONEHOUR_RECIPE for a precision that the device cannot do, and ERR_ONEHOUR_PYTORCH without
 * PyTorch.
 */
export async function throughput(options: ThroughputOptions): Promise<ThroughputResult> {
  const model = await pinModel(options.model);
  const { counts, settings } = settingsOf({ ...options, model });
  if (options.against && isModule(model))
    throw new UsageError(
      "ERR_ONEHOUR_USAGE",
      "--against pytorch needs a model that PyTorch has too, for example --model resnet50",
    );
  const contenders: Contender[] = [];
  try {
    let device: Device = { name: "", kind: "cpu" };
    for (const workers of counts) {
      const started = await startWorkers(workers, settings);
      contenders.push(started);
      device = started.device;
    }
    if (options.against) contenders.push(await startPyTorch(settings, device.kind));
    const { steps, results } = await race(contenders, settings.batch, options.steps);
    const ratio = ratioOf(results);
    return {
      settings,
      device: device.name,
      steps,
      results,
      ...(ratio === undefined ? {} : { ratio }),
    };
  } finally {
    for (const contender of contenders) await contender.close();
  }
}

function settingsOf(options: ThroughputOptions): {
  counts: readonly number[];
  settings: StepSettings;
} {
  const device = expectDevice(options.device ?? "auto");
  const { kind } = device;
  const precision = choosePrecision(options.precision, device);
  const gpus = kind === "cuda" ? defaultWorkers() : 1;
  const asked = options.workers ?? (gpus > 1 ? [1, gpus] : [1]);
  const counts = [...new Set(asked)].sort((a, b) => a - b);
  if (kind === "cuda") requireGpus(Math.max(...counts));
  const share = Math.max(1, Math.floor(usableCores() / Math.max(...counts)));
  const { threads = share } = options;
  requireThreads(threads);
  const { model, batch } = options;
  const settings = stepSettings({ model, batch, precision, device: kind, threads });
  return { counts, settings };
}

/** Warm-up, then the rounds: A B C, A B C, … By default a round takes about three seconds. */
export async function race(
  contenders: readonly Contender[],
  batch: number,
  asked?: number,
  rounds = roundsEach,
): Promise<{ steps: number; results: ContenderResult[] }> {
  let steps = asked ?? Number.POSITIVE_INFINITY;
  for (const contender of contenders) {
    await contender.run(1);
    const { seconds } = await contender.run(1);
    if (asked === undefined)
      steps = Math.min(steps, Math.max(2, Math.round(secondsOfRound / seconds)));
  }
  const results: ContenderResult[] = contenders.map(({ name, workers, plannedBytes }) => ({
    name,
    workers,
    imagesPerSecond: 0,
    rounds: [],
    ...(plannedBytes === undefined ? {} : { plannedBytes }),
    peakBytes: 0,
  }));
  for (let round = 0; round < rounds; round++) {
    for (const [index, contender] of contenders.entries()) {
      const result = results[index]!;
      const { seconds, peakBytes } = await contender.run(steps);
      result.rounds.push((contender.workers * batch * steps) / seconds);
      result.peakBytes = peakBytes;
    }
  }
  for (const result of results) result.imagesPerSecond = median(result.rounds);
  return { steps, results };
}

/** onehour's rate over the other's, median of the rounds' ratios. */
export function ratioOf(results: readonly ContenderResult[]): number | undefined {
  const ours = results.find(({ name, workers }) => name === "onehour" && workers === 1);
  const theirs = results.find(({ name }) => name !== "onehour");
  return ours && theirs && median(ours.rounds.map((rate, round) => rate / theirs.rounds[round]!));
}

const megabytes = (bytes: number) => `${Math.round(bytes / 1e6).toLocaleString("en")} MB`;

/** The result as a person reads it. */
export function throughputTable(result: ThroughputResult): string {
  const { settings, results } = result;
  const { height, width, channels } = settings.images;
  const ours = results.filter(({ name }) => name === "onehour");
  const one = ours.find(({ workers }) => workers === 1);
  const rows = results.map((row) => {
    const speedup = one && row.imagesPerSecond / one.imagesPerSecond;
    const planned = row.plannedBytes === undefined ? "" : megabytes(row.plannedBytes);
    const common = [row.name, String(row.workers), row.imagesPerSecond.toFixed(1)];
    const memory = [planned, megabytes(row.peakBytes)];
    if (row.name !== "onehour") return [...common, "", ...memory, ""];
    return speedup === undefined
      ? [...common, "–", ...memory, "–"]
      : [...common, `${speedup.toFixed(2)}×`, ...memory, bar(speedup / row.workers)];
  });
  const header = ["", "workers", "images/s", "speed-up", "planned", "peak memory", "of ideal"];
  const lines = [
    `${titleOf(settings.model)}, ${height}×${width}×${channels}, batch ${settings.batch} a worker, ` +
      `${settings.precision}, threads per worker: ${settings.threads}, ${result.device}\n`,
    `median of ${roundsEach} interleaved rounds of ${plural(result.steps, "step")}\n\n`,
    table([header, ...rows]),
  ];
  const wanted = Math.max(...ours.map(({ workers }) => workers)) * settings.threads;
  if (wanted > usableCores())
    lines.push(
      `\n${plural(wanted, "thread")} shared ${plural(usableCores(), "core")}: no speed-up can be ideal. ` +
        "Compare with --threads 1 or fewer workers.\n",
    );
  if (one === undefined)
    lines.push("\nThe speed-up is over one worker, which was not measured: add 1 to --workers.\n");
  if (result.ratio !== undefined)
    lines.push(`\nonehour / PyTorch, one process each: ${result.ratio.toFixed(2)}\n`);
  return lines.join("");
}
