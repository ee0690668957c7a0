// Measures images per second of a data set: of a folder's crops, against PyTorch's DataLoader with Pillow, or
// of a user's own module.
import { cpus } from "node:os";
import { join, resolve } from "node:path";
import { median } from "../arrays/median.js";
import type { Dataset, ImageShape } from "../data/dataset.js";
import { openDataset } from "../data/datasets.js";
import { openImageFolder } from "../data/images/image-folder.js";
import { type InputLayout, Loader } from "../data/loader.js";
import { Sampler } from "../data/sampler.js";
import { requireThreads, usableCores } from "../device/cores.js";
import { OnehourError, UsageError } from "../errors.js";
import { isModule } from "../modules/pinned.js";
import { exists } from "../system/exists.js";
import { inTemporaryFolder } from "../system/temporary-folder.js";
import { plural } from "../text/words.js";
import { batchesAhead } from "../train/prepare.js";
import { startPython } from "./python.js";
import { makeImages } from "./sample-images.js";
import { table } from "./table.js";

/** Random crops of training images, and the centres of test images. */
const crops = ["training", "evaluation"] as const;
type Crop = (typeof crops)[number];

export interface LoaderBenchOptions {
  /** In ImageNet's layout, or a module that opens a data set; without it images are made, and removed afterwards. */
  folder?: string;
  /** Images to make where there is no folder; 64. */
  images?: number;
  /** Pixels of both sides of a crop; 224. A module's images are as they are. */
  size?: number;
  /** Threads that decode, and processes of PyTorch; by default one a core. A module knows its own. */
  threads?: number;
  /** Images of a batch. */
  batch: number;
  rounds: number;
  /** Batches of a round; by default about two seconds' worth. */
  batches?: number;
  against?: "pytorch";
  /** Called with what the user should know about the folder, and what was mended when it was opened. */
  warn?: (text: string) => void;
}

interface LoaderBenchSettings {
  /** Absent where the images were made. */
  folder?: string;
  trainingImages: number;
  testImages: number;
  /** Pixels of both sides of a crop; absent for a module, as `threads` and `cores` are. */
  size?: number;
  /** Of a module's images. */
  images?: ImageShape;
  threads?: number;
  /** What the threads shared: as many cores, or all that this process may use if they are fewer. */
  cores?: number;
  batch: number;
}

interface LoaderBenchRow {
  name: string;
  crop: Crop;
  /** Images of all rounds. */
  images: number;
  /** Medians of the rounds. */
  imagesPerSecond: number;
  /** Unknown of a module, which may have threads of its own. */
  imagesPerSecondPerCore?: number;
  rounds: number[];
  /** Shares of the threads' time in all rounds; known of this package's own threads only. */
  reading?: number;
  decoding?: number;
}

export interface LoaderBenchResult {
  settings: LoaderBenchSettings;
  processor: string;
  /** Of a round. */
  batches: number;
  results: LoaderBenchRow[];
  /** onehour's images per second over PyTorch's, medians of the rounds' ratios. */
  ratios?: Record<Crop, number>;
}

interface Round {
  images: number;
  /** Wall time. */
  seconds: number;
  /** Of all threads together. */
  readSeconds?: number;
  decodeSeconds?: number;
}

/** Something that fills batches when asked to, and waits in between. */
interface Contender {
  readonly name: string;
  run(crop: Crop, batches: number): Promise<Round>;
  close(): Promise<void>;
}

const imagesMade = 64;
const usualSize = 224;
const secondsOfRound = 2;

/** Images, flips and labels of a batch, after the schedule that a step would have. */
function inputLayout(batch: number, imageBytes: number): InputLayout {
  return {
    labels: { offset: 8, bytes: 4 * batch },
    flips: { offset: 8 + 4 * batch, bytes: batch },
    images: { offset: 8 + 5 * batch, bytes: batch * imageBytes },
  };
}

/** Opens the folder or module as a run does. */
async function openAs(
  folder: string,
  indexFolder: string | undefined,
  { size, threads }: LoaderBenchOptions,
  warn?: (text: string) => void,
): Promise<Dataset> {
  if (!isModule(folder)) {
    const given = { imageSize: size ?? usualSize, threads: threads ?? usableCores() };
    return await openImageFolder(folder, { ...given, indexFolder, warn });
  }
  for (const [flag, value] of Object.entries({ size, threads })) {
    if (value === undefined) continue;
    throw new UsageError(
      "ERR_ONEHOUR_USAGE",
      `--${flag} is for folders of images; ${folder} is a module, which decides it. Leave --${flag} out`,
    );
  }
  return await openDataset(folder, { warn });
}

/** Fills slots as the trainer and the evaluation of a run do. */
function startOnehour(dataset: Dataset, folder: string, batch: number): Contender {
  const images = dataset.train.length;
  if (batch > images) {
    throw new OnehourError(
      "ERR_ONEHOUR_USAGE",
      `--batch ${batch} is more than the ${images} training images of ${folder}; ` +
        `expected at most ${images}`,
    );
  }
  const { height, width, channels } = dataset.images;
  const layout = inputLayout(batch, height * width * channels);
  const loader = new Loader({ dataset, layout, batch, seed: 0, augment: true });
  const { shards } = dataset;
  const sampler = new Sampler({ images, workers: 1, accumulate: 1, batch, seed: 0, shards });
  const slots = Array.from(
    { length: batchesAhead(dataset, batch) },
    () => new Uint8Array(layout.images.offset + layout.images.bytes),
  );
  let step = 0;
  let first = 0;

  /** Fill the next batch, and return the number of its images. */
  const fill: Record<Crop, (slot: Uint8Array) => [number, Promise<void>]> = {
    training(slot) {
      const epoch = Math.floor(step / sampler.stepsPerEpoch);
      return [batch, loader.fillTraining(slot, sampler.group(step++, 0, 0), epoch)];
    },
    evaluation(slot) {
      const start = first;
      const count = Math.min(batch, dataset.test.length - start);
      first = (start + count) % dataset.test.length;
      return [count, loader.fillEvaluation(slot, start, count)];
    },
  };

  return {
    name: "onehour",
    async run(crop, batches) {
      const before = dataset.inspection && { ...dataset.inspection.timing };
      const start = performance.now();
      const filling: Promise<void>[] = [];
      let filled = 0;
      for (let i = 0; i < batches; i++) {
        if (filling.length === slots.length) await filling.shift();
        const [count, done] = fill[crop](slots[i % slots.length]!);
        done.catch(() => {}); // it is seen where the batch is awaited
        filling.push(done);
        filled += count;
      }
      await Promise.all(filling);
      const round = { images: filled, seconds: (performance.now() - start) / 1000 };
      if (!before) return round;
      const { readSeconds, decodeSeconds } = dataset.inspection!.timing;
      return {
        ...round,
        readSeconds: readSeconds - before.readSeconds,
        decodeSeconds: decodeSeconds - before.decodeSeconds,
      };
    },
    close: async () => dataset[Symbol.dispose]?.(),
  };
}

/** Starts the DataLoader's processes, which wait between the rounds. */
async function startDataLoader(
  folder: string,
  { size, threads, batch }: { size: number; threads: number; batch: number },
): Promise<Contender> {
  if (!exists(join(folder, "train"))) {
    throw new OnehourError(
      "ERR_ONEHOUR_DATA",
      `--against pytorch reads images from train/CLASS/ and val/CLASS/, which ${folder} lacks; ` +
        "name a folder that has them, or leave --against out",
    );
  }
  const python = await startPython(
    "loader-pytorch.py",
    ["--folder", folder, "--size", size, "--threads", threads, "--batch", batch],
    { packages: ["numpy", "pillow"] },
  );
  return {
    name: String(python.hello.name),
    run: (crop, batches) =>
      python.ask<Round>({ crop, batches }, "while it decoded. What it wrote above says why."),
    close: python.close,
  };
}

/** Batches that take about a round's time, as many for each of PyTorch's processes. */
async function choose(contenders: readonly Contender[], threads: number): Promise<number> {
  let batches = Number.POSITIVE_INFINITY;
  for (const contender of contenders) {
    const { seconds } = await contender.run("training", threads);
    batches = Math.min(batches, Math.round(secondsOfRound / seconds) * threads);
  }
  return Math.max(threads, batches);
}

/** Rounds of every contender and crop, one after the other in turn. */
async function race(
  contenders: readonly Contender[],
  { threads = 1, cores }: LoaderBenchSettings,
  rounds: number,
  asked?: number,
): Promise<{ batches: number; results: LoaderBenchRow[] }> {
  for (const contender of contenders) {
    for (const crop of crops) await contender.run(crop, threads);
  }
  const batches = asked ?? (await choose(contenders, threads));
  const entries = crops.flatMap((crop) =>
    contenders.map((contender) => ({ contender, crop, rounds: [] as Round[] })),
  );
  for (let round = 0; round < rounds; round++) {
    for (const entry of entries) entry.rounds.push(await entry.contender.run(entry.crop, batches));
  }
  const results = entries.map(({ contender, crop, rounds }) => {
    const sum = (value: (round: Round) => number) =>
      rounds.reduce((total, round) => total + value(round), 0);
    const rates = rounds.map(({ images, seconds }) => images / seconds);
    const share = (seconds: (round: Round) => number) =>
      sum(seconds) / (threads * sum((round) => round.seconds));
    return {
      name: contender.name,
      crop,
      images: sum(({ images }) => images),
      imagesPerSecond: median(rates),
      ...(cores === undefined ? {} : { imagesPerSecondPerCore: median(rates) / cores }),
      rounds: rates,
      ...(rounds[0]!.readSeconds === undefined
        ? {}
        : {
            reading: share((round) => round.readSeconds!),
            decoding: share((round) => round.decodeSeconds!),
          }),
    };
  });
  return { batches, results };
}

function ratiosOf(results: readonly LoaderBenchRow[]): Record<Crop, number> | undefined {
  const ratios = crops.map((crop) => {
    const [ours, theirs] = results.filter((row) => row.crop === crop);
    const rates = ours!.rounds.map((rate, i) => theirs && rate / theirs.rounds[i]!);
    return [crop, theirs && median(rates as number[])] as const;
  });
  return ratios[0]![1] === undefined
    ? undefined
    : (Object.fromEntries(ratios) as Record<Crop, number>);
}

/**
 * Measures how fast crops are read and decoded into input slots. Throws ERR_ONEHOUR_DATA for a folder
 * that is not an image folder, ERR_ONEHOUR_USAGE for a batch larger than the training set, and
 * ERR_ONEHOUR_PYTORCH without PyTorch and Pillow.
 */
export async function benchLoader(options: LoaderBenchOptions): Promise<LoaderBenchResult> {
  requireThreads(options.threads ?? 1);
  if (options.folder !== undefined) return await measure(options, resolve(options.folder));
  return await inTemporaryFolder(async (made) => {
    await makeImages(made, options.images ?? imagesMade);
    return await measure(options, made, made);
  });
}

async function measure(
  options: LoaderBenchOptions,
  folder: string,
  indexFolder?: string,
): Promise<LoaderBenchResult> {
  const { size = usualSize, batch, threads = usableCores(), rounds, against, warn } = options;
  const contenders: Contender[] = [];
  try {
    const dataset = await openAs(folder, indexFolder, options, warn);
    for (const note of dataset.notes ?? []) warn?.(note);
    contenders.push(startOnehour(dataset, folder, batch));
    if (against) contenders.push(await startDataLoader(folder, { size, threads, batch }));
    const { train, test, images } = dataset;
    const settings = {
      ...(options.folder === undefined ? {} : { folder }),
      trainingImages: train.length,
      testImages: test.length,
      batch,
      ...(isModule(folder)
        ? { images }
        : { size, threads, cores: Math.min(threads, usableCores()) }),
    };
    const raced = await race(contenders, settings, rounds, options.batches);
    const ratios = ratiosOf(raced.results);
    const processor = cpus()[0]?.model.trim() ?? "unknown processor";
    return { settings, processor, ...raced, ...(ratios ? { ratios } : {}) };
  } finally {
    for (const contender of contenders) await contender.close();
  }
}

const percent = (share: number | undefined) =>
  share === undefined ? "" : `${(100 * share).toFixed(1)} %`;

/** What was filled with, in words. */
function conditions({ size, images, threads, cores, batch }: LoaderBenchSettings): string {
  if (images) {
    const { height, width, channels } = images;
    return `images of ${height}×${width}×${channels}, batch ${batch}`;
  }
  return `crops of ${size}×${size}, batch ${batch}, ${plural(threads!, "thread")} on ${plural(cores!, "core")}`;
}

/** The result as a person reads it. */
export function loaderTable({
  settings,
  processor,
  batches,
  results,
  ratios,
}: LoaderBenchResult): string {
  const { folder, trainingImages, testImages, threads = 1, cores = 1 } = settings;
  const count = (images: number) => images.toLocaleString("en-US");
  const rows = results.map((row) => [
    row.name,
    row.crop,
    row.imagesPerSecond.toFixed(0),
    row.imagesPerSecondPerCore?.toFixed(0) ?? "",
    percent(row.reading),
    percent(row.decoding),
    ratios && row.name === "onehour" ? `${ratios[row.crop].toFixed(2)}×` : "",
  ]);
  const header = ["", "crops", "images/s", "a core", "reading", "decoding"];
  const lines = [
    folder === undefined
      ? `${count(trainingImages)} images of 500×375 pixels, made for this\n`
      : `${folder}: ${count(trainingImages)} training and ${count(testImages)} test images\n`,
    `${conditions(settings)}, ${processor}\n`,
    `median of ${results[0]!.rounds.length} interleaved rounds of ${plural(batches, "batch")}\n\n`,
    table([[...header, ratios ? "of PyTorch's" : ""], ...rows]),
  ];
  if (threads > cores)
    lines.push(
      `\n${plural(threads, "thread")} shared ${plural(cores, "core")}: the figure of a core is theirs.\n`,
    );
  return lines.join("");
}
