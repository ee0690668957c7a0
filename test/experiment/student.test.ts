// Student's t distribution against its closed forms and the quantiles of published tables.
import { expect, test } from "vitest";
import { incompleteBeta, upperTail } from "../../lib/experiment/student.js";

test("the incomplete beta function equals its closed forms", () => {
  for (const x of [0, 1e-12, 0.01, 0.2, 0.5, 0.77, 0.999, 1]) {
    expect(incompleteBeta(x, 1, 1)).toBeCloseTo(x, 13);
    expect(incompleteBeta(x, 3, 1)).toBeCloseTo(x ** 3, 13);
    expect(incompleteBeta(x, 1, 4)).toBeCloseTo(1 - (1 - x) ** 4, 13);
    expect(incompleteBeta(x, 2, 2)).toBeCloseTo(3 * x ** 2 - 2 * x ** 3, 13);
    // The arcsine distribution.
    expect(incompleteBeta(x, 0.5, 0.5)).toBeCloseTo((2 / Math.PI) * Math.asin(Math.sqrt(x)), 12);
    expect(incompleteBeta(x, 2.5, 7) + incompleteBeta(1 - x, 7, 2.5)).toBeCloseTo(1, 13);
  }
});

test.each([
  // t with P(T > t), as every textbook's table has them.
  [1, 6.314, 0.05],
  [1, 31.821, 0.01],
  [2, 2.92, 0.05],
  [4, 2.132, 0.05],
  [4, 4.604, 0.005],
  [5, 2.571, 0.025],
  [8, 1.86, 0.05],
  [10, 1.372, 0.1],
  [30, 2.042, 0.025],
  [120, 1.658, 0.05],
  [1e9, 1.959964, 0.025],
])("with %d degrees of freedom %d is exceeded with probability %d", (freedom, t, p) => {
  expect(Math.abs(upperTail(t, freedom) - p)).toBeLessThan(p * 2e-3);
  expect(upperTail(-t, freedom)).toBeCloseTo(1 - upperTail(t, freedom), 12);
});

test("closed forms for one, two and three degrees of freedom, far out too", () => {
  for (const t of [0, 0.1, 1, 3, 50, 1e4]) {
    expect(upperTail(t, 1) / (0.5 - Math.atan(t) / Math.PI)).toBeCloseTo(1, 6);
    const two = 0.5 - t / (2 * Math.sqrt(2 + t * t));
    expect(upperTail(t, 2)).toBeCloseTo(two, 12);
    const u = t / Math.sqrt(3);
    const three = 0.5 - (Math.atan(u) + u / (1 + u * u)) / Math.PI;
    expect(upperTail(t, 3)).toBeCloseTo(three, 12);
  }
  expect(upperTail(Number.POSITIVE_INFINITY, 3)).toBe(0);
  expect(upperTail(Number.NEGATIVE_INFINITY, 3)).toBe(1);
});
