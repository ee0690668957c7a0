// The paper's claims in terms of an experiment's points, and what its runs say of each.
import { count } from "../text/words.js";
import {
  type ExperimentName,
  figureMinibatches,
  pointId,
  remarkId,
  type Variant,
  variantId,
  variants,
} from "./points.js";
import type { RunRecord } from "./records.js";
import { remarks, remarkVerdict } from "./remarks.js";
import { baseline, type Setting } from "./setting.js";
import { equal, larger, type Sample, sampleOf, type Verdict } from "./verdicts.js";

/** Runs by what they say. */
export class Runs {
  constructor(readonly records: readonly RunRecord[]) {}

  /** Those of a point that have an error. */
  of(id: string): RunRecord[] {
    return this.records.filter(({ point, error }) => point === id && error !== undefined);
  }

  /** The errors of a point's runs; undefined where there is none. */
  sample(id: string, errorOf: ErrorOf = testError): Sample | undefined {
    const errors = this.of(id).flatMap((run) => errorOf(run) ?? []);
    return errors.length > 0 ? sampleOf(errors) : undefined;
  }

  /** By how many points the error of `a` is higher than that of `b`, for each seed that has both. */
  differences(a: string, b: string, errorOf: ErrorOf = testError): number[] {
    const others = new Map(this.of(b).map((run) => [run.seed, errorOf(run)]));
    return this.of(a).flatMap((run) => {
      const [error, other] = [errorOf(run), others.get(run.seed)];
      return error === undefined || other === undefined ? [] : [error - other];
    });
  }
}

type ErrorOf = (run: RunRecord) => number | undefined;

const testError: ErrorOf = ({ error }) => error;

/** The training error of the last epoch, in %. */
export const trainError: ErrorOf = ({ epochs, status, error }) =>
  status === "diverged" ? error : (epochs.at(-1)?.train ?? undefined);

const kn = (minibatch: number) => `kn = ${count(minibatch)}`;

/** What is to be said of two points of which no run learned anything: their errors say nothing. */
function guesses(runs: Runs, claim: string, a: string, b: string): Verdict | undefined {
  const all = [...runs.of(a), ...runs.of(b)];
  if (all.length === 0 || !all.every(({ isGuess }) => isGuess)) return undefined;
  return { claim, ruling: "undecided", reason: "no run is better than a guess" };
}

/** Whether two points have the same error. */
const same = (runs: Runs, claim: string, [a, b]: [string, string], errorOf?: ErrorOf): Verdict =>
  guesses(runs, claim, a, b) ?? equal({ claim, differences: runs.differences(a, b, errorOf) });

/** Whether the error of `a` is higher than that of `b`. */
const higher = (runs: Runs, claim: string, [a, b]: [string, string]): Verdict =>
  guesses(runs, claim, a, b) ?? larger({ claim, a: runs.sample(a), b: runs.sample(b) });

/** Whether a minibatch has the error of the baseline. */
export const asBaseline = (runs: Runs, minibatch: number): Verdict =>
  same(runs, `${kn(minibatch)} has the error of ${kn(baseline)}`, [
    pointId(minibatch),
    pointId(baseline),
  ]);

/**
 * The flat part: the error stays the baseline's up to the last minibatch before one that is not shown to have it; of
 * none that has it, the ruling on the first.
 */
function flat(runs: Runs, setting: Setting): Verdict[] {
  const above = figureMinibatches(setting).filter((minibatch) => minibatch > baseline);
  if (above.length === 0) return [];
  const verdicts = above.map((minibatch) => asBaseline(runs, minibatch));
  const isNot = verdicts.findIndex(({ ruling }) => ruling !== "holds");
  const end = isNot < 0 ? above.length : isNot;
  const upTo = Math.max(0, end - 1);
  const reasons = above.map((minibatch, i) => `${kn(minibatch)}: ${verdicts[i]!.reason}`);
  return [
    {
      claim: `While the minibatch grows, the error stays that of ${kn(baseline)} up to ${kn(above[upTo]!)}`,
      ruling: verdicts[upTo]!.ruling,
      reason: reasons.slice(0, end + 1).join("; "),
    },
  ];
}

function figure1(runs: Runs, setting: Setting): Verdict[] {
  const largest = figureMinibatches(setting).at(-1)!;
  if (largest === baseline) return [];
  return [
    ...flat(runs, setting),
    higher(runs, `The error is higher at ${kn(largest)}, the largest`, [
      pointId(largest),
      pointId(baseline),
    ]),
  ];
}

function table1(runs: Runs, { large }: Setting): Verdict[] {
  return [
    same(runs, `With gradual warm-up ${kn(large)} has the error of ${kn(baseline)}`, [
      pointId(large),
      pointId(baseline),
    ]),
    ...(["none", "constant"] as const).map((warmup) =>
      higher(
        runs,
        `At ${kn(large)} training ${warmup === "none" ? "without" : "with constant"} warm-up has a higher error than ` +
          "with gradual warm-up",
        [pointId(large, warmup), pointId(large)],
      ),
    ),
  ];
}

function figure3(runs: Runs, { large }: Setting): Verdict[] {
  return [
    same(
      runs,
      `The training error of ${kn(large)} ends where that of ${kn(baseline)} does`,
      [pointId(large), pointId(baseline)],
      trainError,
    ),
  ];
}

function remarkVerdicts(runs: Runs, _: Setting, images: number): Verdict[] {
  return remarks.map((remark) => remarkVerdict(remark, (run) => runs.of(remarkId(run))[0], images));
}

/** Whether any run of Table 2 has begun that no other part has. */
export function hasVariants({ records }: Runs, { large }: Setting): boolean {
  const names = Object.keys(variants) as Variant[];
  const ids = new Set(names.flatMap((one) => [baseline, large].map((kn) => variantId(kn, one))));
  return records.some(({ point }) => ids.has(point));
}

/** Of no run nothing is claimed: an experiment whose time ends before them does not show them. */
function table2(runs: Runs, setting: Setting): Verdict[] {
  if (!hasVariants(runs, setting)) return [];
  const { large } = setting;
  const overLinear = (claim: string, variant: Variant) =>
    higher(runs, `At ${kn(large)} ${claim} has a higher error than the linear rule`, [
      variantId(large, variant),
      pointId(large),
    ]);
  return [
    overLinear("a rate that grows with the square root", "root"),
    overLinear(`the rate of ${kn(baseline)}, unscaled,`, "unscaled"),
    ...(["half", "double"] as const).map((variant) =>
      same(
        runs,
        `With ${variants[variant].label} at both, ${kn(large)} has the error of ${kn(baseline)}`,
        [variantId(large, variant), variantId(baseline, variant)],
      ),
    ),
    ...[baseline, large].map((minibatch) =>
      higher(
        runs,
        `At ${kn(minibatch)} the last γ of each block begun with 1 has a higher error than with 0`,
        [variantId(minibatch, "gamma"), pointId(minibatch)],
      ),
    ),
  ];
}

const parts = { figure1, table1, figure3, remarks: remarkVerdicts, table2 };

export type Part = keyof typeof parts;

/** What an experiment consists of. */
export const partsOf = (name: ExperimentName): Part[] =>
  name === "paper" ? (Object.keys(parts) as Part[]) : [name];

/** The verdicts of a part of an experiment; `images` are those of the training set. */
export const verdictsOf = (part: Part, runs: Runs, setting: Setting, images: number): Verdict[] =>
  parts[part](runs, setting, images);
