// Errors relative to a reference, in double precision.

type Numbers = ArrayLike<number>;

/** Σ a·b. */
export function dot(a: Numbers, b: Numbers): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

/** ‖a‖₂. */
export function norm(a: Numbers): number {
  return Math.sqrt(dot(a, a));
}

/**
 * ‖got − expected‖₂ / ‖expected‖₂; the absolute error where the reference is zero, and Infinity where
 * lengths differ or a number is not finite.
 */
export function relativeError(got: Numbers, expected: Numbers, scale = norm(expected)): number {
  if (got.length !== expected.length) return Number.POSITIVE_INFINITY;
  let sum = 0;
  for (let i = 0; i < got.length; i++) sum += (got[i]! - expected[i]!) ** 2;
  const error = Math.sqrt(sum) / (scale || 1);
  return Number.isFinite(error) ? error : Number.POSITIVE_INFINITY;
}
