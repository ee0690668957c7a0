// The paper's remarks as pairs of a right and a wrong way, each a recipe.
import { median } from "../arrays/median.js";
import { Sampler } from "../data/sampler.js";
import type { RecipeInput } from "../recipe/fields.js";
import { peakLearningRate } from "../schedules/schedule.js";
import { count } from "../text/words.js";
import { batch, remarkSetting, type Setting } from "./setting.js";
import type { Ruling, Verdict } from "./verdicts.js";

const { minibatch, steps, lr, weightDecay } = remarkSetting;
/** By how much the rate of the minibatch is larger than that of 256 images. */
const scale = peakLearningRate(1, minibatch);

/** The recipe of a run with k workers. Its steps take the same images for any k. */
const withWorkers = (workers: number): RecipeInput => ({
  workers,
  accumulate: minibatch / (batch * workers),
});

/**
 * The runs by name. What multiplies every gradient by c leaves λw as it is, so with SGD it is the same as a rate c times
 * as large with λ/c: u ← m·u + c·g + λw, w ← w − η·u. This is how the recipes below write a loss that is scaled.
 */
export const remarkRuns = {
  reference: withWorkers(1),
  workers: withWorkers(2),
  velocity: { ...withWorkers(1), momentumForm: "velocity" },
  uncorrected: { ...withWorkers(1), momentumForm: "velocity", momentumCorrection: false },
  // Its rates are those of a run whose loss, and not its rate, was multiplied by kn/256.
  loss: { ...withWorkers(1), weightDecay: weightDecay / scale },
  // Two workers that divide by their own images: the sum of their gradients is twice the minibatch's.
  sum: { ...withWorkers(2), lr: 2 * lr, weightDecay: weightDecay / 2 },
  shuffles: { ...withWorkers(2), shuffle: "worker" },
  norm: { workers: 1, batch: 8 * batch, accumulate: minibatch / (8 * batch) },
  decay: { ...withWorkers(1), normWeightDecay: true },
} satisfies Record<string, RecipeInput>;

export type RemarkRun = keyof typeof remarkRuns;

export interface Remark {
  title: string;
  /** Of the paper, or what else of it. */
  source: string;
  right: RemarkRun;
  rightWay: string;
  wrong: RemarkRun;
  wrongWay: string;
  /** Whether the images of the wrong way are others, so that its losses say nothing. */
  isOfImages?: true;
}

/** Each right way has the losses of one worker, and each wrong way has not. */
export const remarks: readonly Remark[] = [
  {
    title: "Scale the rate, not the loss",
    source: "Remark 1",
    right: "workers",
    rightWay: "two workers, the rate times kn/256",
    wrong: "loss",
    wrongWay: "the loss times kn/256",
  },
  {
    title: "Correct the velocity when the rate changes",
    source: "Remark 2",
    right: "velocity",
    rightWay: "velocity form with correction",
    wrong: "uncorrected",
    wrongWay: "velocity form without",
  },
  {
    title: "Divide each worker's loss by kn",
    source: "Remark 3",
    right: "workers",
    rightWay: "two workers, each divides by kn",
    wrong: "sum",
    wrongWay: "two workers, each divides by its own images",
  },
  {
    title: "Divide one shuffle among the workers",
    source: "Remark 4",
    right: "workers",
    rightWay: "two workers, one shuffle",
    wrong: "shuffles",
    wrongWay: "two workers, a shuffle each",
    isOfImages: true,
  },
  {
    title: "Keep n while kn grows",
    source: "Section 2.3",
    right: "workers",
    rightWay: `two workers, batch norm over n = ${batch}`,
    wrong: "norm",
    wrongWay: `batch norm over n = ${8 * batch}`,
  },
  {
    title: "Spare γ and β from weight decay",
    source: "Section 5.1",
    right: "workers",
    rightWay: "two workers, γ and β do not decay",
    wrong: "decay",
    wrongWay: "γ and β decay too",
  },
];

/**
 * The recipe of a remark's run, without seed and folder. Always in fp32 on the CPU: what a coarser precision rounds
 * would hide the wrong ways, and the two workers would need two GPUs.
 */
export function remarkRecipe(run: RemarkRun, setting: Setting): RecipeInput {
  const { epochs, warmupEpochs, milestones } = remarkSetting;
  const { dataset, model, augment } = setting;
  return {
    ...{ dataset, model, augment, lr, epochs, warmupEpochs, milestones, steps, batch },
    ...{ warmup: "gradual", weightDecay, device: "cpu", precision: "fp32" },
    ...remarkRuns[run],
  };
}

/**
 * How far each loss of a run is from that of the reference; infinite where it is not a number any more, and from the
 * step on with which a run broke off.
 */
export function deviations(
  run: readonly (number | null)[],
  reference: readonly (number | null)[],
): number[] {
  return reference.map((loss, i) => {
    const other = run[i];
    const deviation = Math.abs((other ?? Number.NaN) - (loss ?? Number.NaN));
    return Number.isFinite(deviation) ? deviation : Number.POSITIVE_INFINITY;
  });
}

/** How many times the right way's deviation the wrong one's must be, in the median of the steps; fixed beforehand. */
export const apart = 10;

/** Whether the wrong way is far enough from one worker; contradicted where it is as near as the right way. */
function rulingOf(right: number, wrong: number): Ruling {
  if (!Number.isFinite(right)) return "undecided";
  if (wrong > 0 && wrong >= apart * right) return "holds";
  return wrong <= right ? "does not hold" : "undecided";
}

/** A run of a remark that has ended. */
export interface RemarkResult {
  seed: number;
  /** Of its steps. */
  losses: readonly (number | null)[];
}

/**
 * Whether the right way keeps to the losses of one worker, and the wrong way does not; or, where the images of the
 * wrong way are others, whether it leaves out far more of them. `resultOf` gives a run's result where it has ended;
 * `images` are those of the training set.
 */
export function remarkVerdict(
  { title, source, right, wrong, isOfImages }: Remark,
  resultOf: (run: RemarkRun) => RemarkResult | undefined,
  images: number,
): Verdict {
  const claim = `${title} (${source})`;
  const [reference, good, bad] = (["reference", right, wrong] as const).map(resultOf);
  if (!reference || !good || !bad)
    return { claim, ruling: "undecided", reason: "its runs have not ended" };
  if (!isOfImages && !reference.losses.every(isNumber))
    return { claim, ruling: "undecided", reason: "the losses of one worker are not finite" };
  const [near, far] = [good, bad].map(({ losses }) =>
    median(deviations(losses, reference.losses)),
  ) as [number, number];
  if (!isOfImages) {
    const reason = `median deviation of a loss ${sized(near)} the right way, ${sized(far)} the wrong way`;
    return { claim, ruling: rulingOf(near, far), reason };
  }
  const [kept, lost] = [unseen(right, good, images), unseen(wrong, bad, images)];
  return {
    claim,
    ruling: rulingOf(kept, lost),
    reason:
      `of ${count(images)} images the first epoch takes all but ${count(kept)} the right way, all but ` +
      `${count(lost)} (${percent(lost / images)}) the wrong way; with the paper's 256 workers it would leave ` +
      `out ${percent((1 - 1 / 256) ** 256)}. Losses of other images decide nothing: their median deviation is ${sized(far)}`,
  };
}

/** Images that no step of a run's first epoch takes, counted in the sampler's orders. */
function unseen(run: RemarkRun, { seed }: RemarkResult, images: number): number {
  const { workers = 1, accumulate = 1, shuffle }: RecipeInput = remarkRuns[run];
  return new Sampler({ images, workers, accumulate, batch, seed, shuffle }).unseen(0);
}

const isNumber = (loss: number | null) => loss !== null && Number.isFinite(loss);

const percent = (share: number) => `${(100 * share).toFixed(0)} %`;

const sized = (deviation: number) =>
  deviation === 0 || !Number.isFinite(deviation)
    ? String(deviation).replace("Infinity", "without bounds")
    : deviation.toExponential(1).replace("e+", "e");
