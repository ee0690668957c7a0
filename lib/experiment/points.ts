// The points of an experiment: recipes that are run, most of them once a seed.
import type { RecipeInput } from "../recipe/fields.js";
import { count } from "../text/words.js";
import { type RemarkRun, remarkRecipe, remarkRuns } from "./remarks.js";
import { baseline, batch, type Setting } from "./setting.js";

export const experiments = {
  figure1: "error against minibatch",
  table1: "no, constant and gradual warm-up at a large minibatch",
  figure3: "training curves of the baseline and the large minibatch",
  remarks: "each pitfall of the paper's remarks beside the right way",
  table2: "rules of the learning rate, and what γ begins with",
  paper: "all of these, table2 where time is left",
} as const;

export type ExperimentName = keyof typeof experiments;

export type Warmup = "none" | "constant" | "gradual";

export interface Point {
  /** The beginning of its runs' folders' names. */
  id: string;
  /** As people call it. */
  label: string;
  /** Without seed, threads and folder. */
  recipe: RecipeInput;
  /** Whether it is run with the first seed alone. */
  once?: true;
  /** Whether it waits until all others have all seeds. */
  last?: true;
}

/** Whether a minibatch has no warm-up, as the paper has it; whichever is asked for is then the same. */
export const hasNoWarmup = (minibatch: number): boolean => minibatch <= baseline;

/** The point of a minibatch and a warm-up. */
export function pointId(minibatch: number, warmup: Warmup = "gradual"): string {
  return hasNoWarmup(minibatch) ? `kn-${minibatch}` : `kn-${minibatch}-${warmup}`;
}

/**
 * What Table 2 changes at a minibatch, from a rate at 256 images by the linear rule. `square root` begins its warm-up
 * at a lower rate than the paper, since a recipe has one rate at 256 images for the warm-up and for the peak.
 */
export const variants = {
  half: { label: "half the rate", change: ({ lr }) => ({ lr: lr / 2 }) },
  double: { label: "twice the rate", change: ({ lr }) => ({ lr: 2 * lr }) },
  root: {
    label: "square root",
    change: ({ lr }, minibatch) => ({ lr: lr * Math.sqrt(baseline / minibatch) }),
  },
  unscaled: {
    label: "unscaled",
    change: ({ lr }, minibatch) => ({ lr: (lr * baseline) / minibatch, warmup: "none" }),
  },
  gamma: { label: "γ = 1", change: () => ({ zeroGamma: false }) },
} satisfies Record<
  string,
  { label: string; change: (setting: Setting, minibatch: number) => RecipeInput }
>;

export type Variant = keyof typeof variants;

export const variantId = (minibatch: number, variant: Variant): string =>
  `${pointId(minibatch)}-${variant}`;

export const remarkId = (run: RemarkRun): string => `remark-${run}`;

/** Only kn differs: n = 32 and one worker, whose micro-batches make up kn. */
function point(setting: Setting, minibatch: number, warmup: Warmup = "gradual"): Point {
  const { dataset, model, epochs, lr, warmupEpochs, milestones, augment } = setting;
  return {
    id: pointId(minibatch, warmup),
    label: `kn = ${count(minibatch)}${hasNoWarmup(minibatch) ? "" : `, ${warmup === "none" ? "no" : warmup} warm-up`}`,
    recipe: {
      ...{ dataset, model, epochs, lr, warmup, warmupEpochs, milestones: [...milestones] },
      ...{ augment, workers: 1, batch, accumulate: minibatch / batch },
    },
  };
}

function variantPoint(setting: Setting, minibatch: number, variant: Variant): Point {
  const { label, change } = variants[variant];
  return {
    id: variantId(minibatch, variant),
    label: `kn = ${count(minibatch)}, ${label}`,
    recipe: { ...point(setting, minibatch).recipe, ...change(setting, minibatch) },
  };
}

const remarkPoints = (setting: Setting): Point[] =>
  (Object.keys(remarkRuns) as RemarkRun[]).map((run) => ({
    id: remarkId(run),
    label: `remarks, ${run}`,
    recipe: remarkRecipe(run, setting),
    once: true,
  }));

/** Minibatches of Figure 1 in rising order, the baseline among them. */
export const figureMinibatches = ({ minibatches }: Setting): number[] =>
  [...new Set([baseline, ...minibatches])].sort((a, b) => a - b);

/** The points that an experiment asks for. What decides most comes first: where time ends it has a seed more. */
export function pointsOf(name: ExperimentName, setting: Setting): Point[] {
  const at = (minibatch: number, warmup?: Warmup) => point(setting, minibatch, warmup);
  const { large } = setting;
  const vary = (minibatch: number, ...all: Variant[]) =>
    all.map((variant) => variantPoint(setting, minibatch, variant));
  const parts: Record<ExperimentName, () => Point[]> = {
    figure1: () => figureMinibatches(setting).map((minibatch) => at(minibatch)),
    table1: () => [at(baseline), at(large, "gradual"), at(large, "none"), at(large, "constant")],
    figure3: () => [at(baseline), at(large, "gradual")],
    remarks: () => remarkPoints(setting),
    table2: () => [
      ...[at(baseline), at(large)],
      ...vary(large, "root", "unscaled", "gamma"),
      ...vary(baseline, "gamma", "half", "double"),
      ...vary(large, "half", "double"),
    ],
    paper: () => [
      ...[...parts.table1(), ...parts.figure1(), ...parts.remarks()],
      ...parts.table2().map((one) => ({ ...one, last: true as const })),
    ],
  };
  const all = parts[name]();
  return all.filter(({ id }, i) => all.findIndex((one) => one.id === id) === i);
}
