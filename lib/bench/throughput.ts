// Images per second of the training step, per number of workers and against PyTorch.
import { usableCores } from "../cores.js";
import { openDevice } from "../device.js";
import { OnehourError } from "../errors.js";
import { models } from "../models/resnet.js";
import { choosePrecision } from "../train/recipe.js";
import type { Contender, StepSettings } from "./contender.js";
import { startPyTorch } from "./pytorch.js";
import { bar, table } from "./table.js";
import { type Device, startWorkers } from "./workers.js";

export interface ThroughputOptions {
  model: string;
  /** Images per worker. */
  batch: number;
  precision: "fp32" | "tf32" | "bf16";
  /** Worker counts to compare. */
  workers: readonly number[];
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

export interface ThroughputResult {
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

const fashionMnist = { images: { height: 28, width: 28, channels: 1 }, classes: 10 };
const imagenet = { images: { height: 224, width: 224, channels: 3 }, classes: 1000 };

/** Middle of the sorted values, mean of the two middle ones. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return (sorted[Math.ceil(middle) - 1]! + sorted[Math.floor(middle)]!) / 2;
}

/**
 * Measures the whole step (forward, backward, all-reduce, update) on images that are in place
 * already. Throws the error of a worker that fails (ERR_ONEHOUR_WORKERS where it had no code),
 * ERR_ONEHOUR_RECIPE for a precision that the device cannot do, and ERR_ONEHOUR_PYTORCH without
 * PyTorch.
 */
export async function throughput(options: ThroughputOptions): Promise<ThroughputResult> {
  const settings = settingsOf(options);
  requirePrecision(options);
  const contenders: Contender[] = [];
  try {
    let device: Device = { name: "", kind: "cpu" };
    for (const workers of options.workers) {
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

function settingsOf(options: ThroughputOptions): StepSettings {
  if (!Object.hasOwn(models, options.model))
    throw new OnehourError(
      "ERR_ONEHOUR_USAGE",
      `There is no model "${options.model}". Expected one of ${Object.keys(models).join(", ")}.`,
    );
  const cores = usableCores();
  return {
    model: options.model,
    ...(models[options.model]!.smallImages ? fashionMnist : imagenet),
    batch: options.batch,
    precision: options.precision,
    threads: options.threads ?? Math.max(1, Math.floor(cores / Math.max(...options.workers))),
  };
}

function requirePrecision({ precision }: ThroughputOptions): void {
  using device = openDevice({ threads: 1 });
  choosePrecision(precision, device.properties);
}

/** Warm-up, then the rounds: A B C, A B C, … */
async function race(contenders: readonly Contender[], batch: number, asked: number | undefined) {
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
  for (let round = 0; round < roundsEach; round++) {
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

function ratioOf(results: readonly ContenderResult[]): number | undefined {
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
  // Speed-up is per worker of the smallest number measured, which is 1 unless asked otherwise.
  const base = ours.reduce((least, next) => (next.workers < least.workers ? next : least));
  const rows = results.map((row) => {
    const speedup = (row.imagesPerSecond / base.imagesPerSecond) * base.workers;
    const planned = row.plannedBytes === undefined ? "" : megabytes(row.plannedBytes);
    const common = [row.name, String(row.workers), row.imagesPerSecond.toFixed(1)];
    const memory = [planned, megabytes(row.peakBytes)];
    return row.name === "onehour"
      ? [...common, `${speedup.toFixed(2)}×`, ...memory, bar(speedup / row.workers)]
      : [...common, "", ...memory, ""];
  });
  const header = ["", "workers", "images/s", "speed-up", "planned", "peak memory", "of ideal"];
  const lines = [
    `${settings.model}, ${height}×${width}×${channels}, batch ${settings.batch} a worker, ` +
      `${settings.precision}, threads per worker: ${settings.threads}, ${result.device}\n`,
    `median of ${roundsEach} interleaved rounds of ${result.steps} steps\n\n`,
    table([header, ...rows]),
  ];
  const wanted = Math.max(...ours.map(({ workers }) => workers)) * settings.threads;
  if (wanted > usableCores())
    lines.push(
      `\n${wanted} threads shared ${usableCores()} cores: no speed-up can be ideal. ` +
        "Compare with --threads 1 or fewer workers.\n",
    );
  if (result.ratio !== undefined)
    lines.push(`\nonehour / PyTorch, one process each: ${result.ratio.toFixed(2)}\n`);
  return lines.join("");
}
