import { expect, test } from "vitest";
import { equal, larger, pAbove, pLarger, sampleOf } from "../../lib/experiment/verdicts.js";

const claim = "the claim";
const of = (...values: number[]) => sampleOf(values);

test("a sample has a mean and the deviation over its count less one", () => {
  expect(of(1, 2, 3, 4)).toEqual({ count: 4, mean: 2.5, deviation: Math.sqrt(5 / 3) });
  expect(of(90.1, 90.1, 90.1)).toEqual({ count: 3, mean: 90.1, deviation: 0 });
  expect(of(7)).toEqual({ count: 1, mean: 7, deviation: Number.NaN });
  expect(of()).toEqual({ count: 0, mean: Number.NaN, deviation: Number.NaN });
});

test("Welch's test of two known samples", () => {
  // Samples of different size and deviation: t = 2.40192 with 8.98936 degrees of freedom. The p value is the integral
  // of Student's density from there on, by the midpoint rule; with n for n − 1 in the degrees of freedom it is 0.0176.
  const a = of(3, 4, 5, 6, 7); // mean 5, variance 2.5
  const b = of(5, 6, 7, 8, 9, 10); // mean 7.5, variance 3.5
  expect(pLarger(b, a)).toBeCloseTo(0.0199015, 6);
  expect(pLarger(a, b)).toBeCloseTo(1 - pLarger(b, a), 12);
});

test("equal deviations and counts give Student's test", () => {
  // t = 2.306 of 8 degrees of freedom is the tabled 0.025.
  const deviation = Math.sqrt(2.5);
  const shift = 2.306 * Math.sqrt((2 * 2.5) / 5);
  const [a, b] = [10 + shift, 10].map((mean) => ({ count: 5, mean, deviation }));
  expect(pLarger(a!, b!)).toBeCloseTo(0.025, 4);
});

test("Student's test of one sample against a margin", () => {
  // t = 2.132 of 4 degrees of freedom is the tabled 0.05, 2.776 the tabled 0.025.
  for (const [t, p] of [
    [2.132, 0.05],
    [2.776, 0.025],
    [0, 0.5],
  ] as const) {
    const sample = { count: 5, mean: 0.5 + (t * 0.2) / Math.sqrt(5), deviation: 0.2 };
    expect(pAbove(sample, 0.5)).toBeCloseTo(p, 4);
    expect(pAbove({ ...sample, mean: 1 - sample.mean }, 0.5)).toBeCloseTo(1 - p, 4);
  }
  expect([pAbove(of(1, 1), 0.5), pAbove(of(0.5, 0.5), 0.5)]).toEqual([0, 1]);
});

test("errors are equal where both differences of half a point are excluded", () => {
  const judge = (...differences: number[]) => equal({ claim, differences });
  expect(judge(0.1, 0.2, 0.0, 0.15, 0.05)).toMatchObject({
    claim,
    ruling: "holds",
    reason: expect.stringMatching(/^\+0\.10 points, less than 0\.5 either way: p < 0\.001$/),
  });
  expect(judge(-0.1, -0.2, 0.0, -0.15, -0.05).ruling).toBe("holds");
  expect(judge(1.1, 1.2, 1.0, 1.15, 1.05).ruling).toBe("does not hold");
  expect(judge(-1.1, -1, -0.9).ruling).toBe("does not hold");
  expect(judge(0.5, 0.6, 0.4, 0.55, 0.45)).toMatchObject({
    ruling: "undecided",
    reason: expect.stringMatching(/^\+0\.50 points, not shown to be less than 0\.5: p = 0\.5\d\d$/),
  });
  // Whether differences are small is not shown where they scatter.
  expect(judge(-3, 3).ruling).toBe("undecided");
});

test("a difference is shown, contradicted or neither", () => {
  const [low, high] = [of(9, 9.2, 8.8), of(12, 12.5, 11.5)];
  expect(larger({ claim, a: high, b: low }).ruling).toBe("holds");
  expect(larger({ claim, a: low, b: high })).toMatchObject({
    ruling: "does not hold",
    reason: expect.stringMatching(/^−3\.00 points, the other way: p/),
  });
  const undecided = larger({ claim, a: of(8.9, 9.9, 7.9), b: low });
  expect(undecided).toMatchObject({
    ruling: "undecided",
    reason: expect.stringMatching(/^−0\.10 points: p = 0\.5\d\d$/), // of the claim, not of its contrary
  });
});

test("one seed, or none, decides nothing", () => {
  const reason = "a deviation needs two seeds or more of each";
  const undecided = { claim, ruling: "undecided", reason };
  for (const [a, b] of [
    [of(9), of(9, 9.1)],
    [of(9, 9.1), of(50)],
    [undefined, of(9, 9.1)],
    [of(), of()],
  ] as const)
    expect(larger({ claim, a, b })).toEqual(undecided);
  for (const differences of [[], [0]]) expect(equal({ claim, differences })).toEqual(undecided);
});

test("runs that all diverged have no deviation, and are told from others all the same", () => {
  const diverged = of(90, 90, 90);
  expect(larger({ claim, a: diverged, b: of(9, 9.2, 9.1) }).ruling).toBe("holds");
  expect(larger({ claim, a: diverged, b: diverged }).ruling).toBe("undecided");
  expect(equal({ claim, differences: [0, 0, 0] }).ruling).toBe("holds");
  expect(larger({ claim, a: of(91, 91), b: diverged }).ruling).toBe("holds");
  // One of three that diverged widens the deviation, so that it decides nothing by itself.
  expect(larger({ claim, a: of(9.1, 9.2, 90), b: of(9, 9.2, 9.1) }).ruling).toBe("undecided");
});
