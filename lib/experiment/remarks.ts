// The paper's remarks as pairs of a right and a wrong way, each a recipe.
import { median } from "../arrays/median.js";
import type { RecipeInput } from "../recipe/fields.js";
import { peakLearningRate } from "../schedules/schedule.js";
import { batch, remarkSetting, type Setting } from "./setting.js";
import type { Verdict } from "./verdicts.js";

/** λ of the runs, the paper's. */
const decay = 1e-4;
const { minibatch, steps } = remarkSetting;
/** By how much the rate of the minibatch is larger than that of 256 images. */
const scale = peakLearningRate(1, minibatch);

/** The recipe of a run with k workers. Its steps take the same images for any k. */
const withWorkers = (workers: number): RecipeInput => ({
  workers,
  accumulate: minibatch / (batch * workers),
});

type Variant = (setting: Setting) => RecipeInput;

/**
 * The runs by name. What multiplies every gradient by c leaves λw as it is, so with SGD it is the same as a rate c times
 * as large with λ/c: u ← m·u + c·g + λw, w ← w − η·u. This is how the recipes below write a loss that is scaled.
 */
export const remarkRuns = {
  reference: () => withWorkers(1),
  workers: () => withWorkers(2),
  velocity: () => ({ ...withWorkers(1), momentumForm: "velocity" }),
  uncorrected: () => ({
    ...withWorkers(1),
    momentumForm: "velocity",
    momentumCorrection: false,
  }),
  // Its rates are those of a run whose loss, and not its rate, was multiplied by kn/256.
  loss: () => ({ ...withWorkers(1), weightDecay: decay / scale }),
  // Two workers that divide by their own images: the sum of their gradients is twice the minibatch's.
  sum: ({ lr }) => ({ ...withWorkers(2), lr: 2 * lr, weightDecay: decay / 2 }),
  norm: () => ({ workers: 1, batch: 8 * batch, accumulate: minibatch / (8 * batch) }),
} satisfies Record<string, Variant>;

export type RemarkRun = keyof typeof remarkRuns;

export interface Remark {
  title: string;
  /** Of the paper, or what else of it. */
  source: string;
  right: RemarkRun;
  rightWay: string;
  wrong: RemarkRun;
  wrongWay: string;
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
    title: "Keep n while kn grows",
    source: "Section 2.3",
    right: "workers",
    rightWay: `two workers, batch norm over n = ${batch}`,
    wrong: "norm",
    wrongWay: `batch norm over n = ${8 * batch}`,
  },
];

/** Pitfalls that the trainer has no way to fall into. */
export const notShown = [
  "Remark 4, a shuffle of its own for each worker: the sampler knows one order an epoch alone.",
  "Section 5.1, weight decay of batch norm's γ and β: the update spares them whatever the recipe.",
];

/** The recipe of a remark's run, without seed and folder. */
export function remarkRecipe(run: RemarkRun, setting: Setting): RecipeInput {
  const { epochs, warmupEpochs, milestones } = remarkSetting;
  const { dataset, model, lr, augment } = setting;
  const variant: Variant = remarkRuns[run];
  return {
    ...{ dataset, model, augment, lr, epochs, warmupEpochs, milestones, steps, batch },
    ...{ warmup: "gradual", weightDecay: decay },
    ...variant(setting),
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

/** Losses of the steps of a run; undefined where it has not ended. */
export type LossesOf = (run: RemarkRun) => readonly (number | null)[] | undefined;

/** Whether the right way keeps to the losses of one worker, and the wrong way does not. */
export function remarkVerdict({ title, source, right, wrong }: Remark, of: LossesOf): Verdict {
  const claim = `${title} (${source})`;
  const [reference, good, bad] = (["reference", right, wrong] as const).map(of);
  if (!reference || !good || !bad)
    return { claim, ruling: "undecided", reason: "its runs have not ended" };
  const [near, far] = [good, bad].map((run) => median(deviations(run, reference)));
  const reason = `median deviation of a loss ${sized(near!)} the right way, ${sized(far!)} the wrong way`;
  return { claim, ruling: far! >= apart * near! ? "holds" : "does not hold", reason };
}

const sized = (deviation: number) =>
  deviation === 0 || !Number.isFinite(deviation)
    ? String(deviation).replace("Infinity", "without bounds")
    : deviation.toExponential(1).replace("e+", "e");
