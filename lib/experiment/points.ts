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
  paper: "all of these",
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
}

/** Whether a minibatch has no warm-up, as the paper has it; whichever is asked for is then the same. */
export const hasNoWarmup = (minibatch: number): boolean => minibatch <= 256;

/** The point of a minibatch and a warm-up. */
export function pointId(minibatch: number, warmup: Warmup = "gradual"): string {
  return hasNoWarmup(minibatch) ? `kn-${minibatch}` : `kn-${minibatch}-${warmup}`;
}

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
  const parts: Record<ExperimentName, () => Point[]> = {
    figure1: () => figureMinibatches(setting).map((minibatch) => at(minibatch)),
    table1: () => [at(baseline), at(large, "gradual"), at(large, "none"), at(large, "constant")],
    figure3: () => [at(baseline), at(large, "gradual")],
    remarks: () => remarkPoints(setting),
    paper: () => [...parts.table1(), ...parts.figure1(), ...parts.remarks()],
  };
  return [...new Map(parts[name]().map((one) => [one.id, one])).values()];
}
