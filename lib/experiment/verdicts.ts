// What runs say of a claim: equality by two one-sided paired tests, a difference by a Welch test, otherwise nothing.
import { upperTail } from "./student.js";

/** Errors in % of the runs of a point, one a seed. */
export interface Sample {
  count: number;
  mean: number;
  /** Of the sample (divided by count − 1); NaN of one value. */
  deviation: number;
}

export function sampleOf(values: readonly number[]): Sample {
  const count = values.length;
  const mean = values.reduce((sum, value) => sum + value / count, 0);
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  // Equal values have no deviation; rounding of their mean would leave one.
  const isOne = values.every((value) => value === values[0]);
  return {
    count,
    mean: isOne ? (values[0] ?? Number.NaN) : mean,
    deviation: count < 2 ? Number.NaN : isOne ? 0 : Math.sqrt(squares / (count - 1)),
  };
}

/**
 * The p value of Welch's one-sided test that the mean of `a` is larger than that of `b`: how probable such a difference
 * is where it is not. Deviations may differ; NaN for samples of fewer than two.
 */
export function pLarger(a: Sample, b: Sample): number {
  const [u, v] = [a, b].map(({ deviation, count }) => deviation ** 2 / count) as [number, number];
  const excess = a.mean - b.mean;
  if (u + v === 0) return excess > 0 ? 0 : 1;
  // Welch and Satterthwaite's degrees of freedom.
  const freedom = (u + v) ** 2 / (u ** 2 / (a.count - 1) + v ** 2 / (b.count - 1));
  return upperTail(excess / Math.sqrt(u + v), freedom);
}

/** The p value of Student's one-sided test that the mean is above `margin`; NaN for a sample of fewer than two. */
export function pAbove({ count, mean, deviation }: Sample, margin: number): number {
  if (deviation === 0) return mean > margin ? 0 : 1;
  return upperTail((mean - margin) / (deviation / Math.sqrt(count)), count - 1);
}

/** That a p value is below this decides. */
export const level = 0.05;

/** Points of error within which two means count as equal; fixed before any run was seen. */
export const equalWithin = 0.5;

export type Ruling = "holds" | "does not hold" | "undecided";

export interface Verdict {
  /** What the paper says, in terms of this experiment. */
  claim: string;
  ruling: Ruling;
  /** The figures that decide. */
  reason: string;
}

const points = (value: number) => `${value >= 0 ? "+" : "−"}${Math.abs(value).toFixed(2)} points`;
const pText = (p: number) => (p < 0.001 ? "p < 0.001" : `p = ${p.toFixed(3)}`);

interface Paired {
  claim: string;
  /** In points, a seed each: of two runs that begin with the same weights, and see images in the same order. */
  differences: readonly number[];
}

interface Compared {
  claim: string;
  a: Sample | undefined;
  b: Sample | undefined;
}

/** Whether both have the two runs that a deviation needs. */
function haveEnough(a: Sample | undefined, b: Sample | undefined): boolean {
  return (a?.count ?? 0) >= 2 && (b?.count ?? 0) >= 2;
}

const tooFew = (claim: string): Verdict => ({
  claim,
  ruling: "undecided",
  reason: "a deviation needs two seeds or more of each",
});

/**
 * Whether two points have equal means: two one-sided tests of the pairs' differences, against `equalWithin` on either
 * side, decide for it; a test for more than that against it. Pairs, since what a seed's first weights add to the error
 * of one run, they add to that of the other.
 */
export function equal({ claim, differences }: Paired): Verdict {
  if (differences.length < 2) return tooFew(claim);
  const sample = sampleOf(differences);
  const contrary = { ...sample, mean: -sample.mean };
  const difference = points(sample.mean);
  // That the difference is above −0.5, and that it is below +0.5.
  const within = Math.max(pAbove(sample, -equalWithin), pAbove(contrary, -equalWithin));
  if (within < level)
    return {
      claim,
      ruling: "holds",
      reason: `${difference}, less than ${equalWithin} either way: ${pText(within)}`,
    };
  const beyond = Math.min(pAbove(sample, equalWithin), pAbove(contrary, equalWithin));
  if (beyond < level)
    return {
      claim,
      ruling: "does not hold",
      reason: `${difference}, more than ${equalWithin}: ${pText(beyond)}`,
    };
  return {
    claim,
    ruling: "undecided",
    reason: `${difference}, not shown to be less than ${equalWithin}: ${pText(within)}`,
  };
}

/** Whether the mean of a is larger than that of b. */
export function larger({ claim, a, b }: Compared): Verdict {
  if (!a || !b || !haveEnough(a, b)) return tooFew(claim);
  const difference = points(a.mean - b.mean);
  const [p, contrary] = [pLarger(a, b), pLarger(b, a)];
  if (p < level) return { claim, ruling: "holds", reason: `${difference}: ${pText(p)}` };
  if (contrary < level)
    return {
      claim,
      ruling: "does not hold",
      reason: `${difference}, the other way: ${pText(contrary)}`,
    };
  return { claim, ruling: "undecided", reason: `${difference}: ${pText(p)}` };
}
