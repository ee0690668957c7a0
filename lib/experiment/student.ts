// Student's t distribution, by the regularised incomplete beta function.

// Lanczos' approximation of Γ with g = 7 and nine terms, in Godfrey's coefficients: about 15 digits.
const lanczos = [
  0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313,
  -176.61502916214059, 12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6,
  1.5056327351493116e-7,
] as const;
const g = 7;

/** ln Γ(x) of x ≥ 1/2. */
function logGamma(x: number): number {
  const [first, ...others] = lanczos;
  const sum = others.reduce<number>((total, c, i) => total + c / (x + i), first);
  const t = x + g - 0.5;
  return 0.5 * Math.log(2 * Math.PI) + (x - 0.5) * Math.log(t) - t + Math.log(sum);
}

/**
 * I_x(a, b), the regularised incomplete beta function: 0 ≤ x ≤ 1, a and b ≥ 1/2. By its continued fraction (Abramowitz
 * and Stegun 1964, 26.5.8), which converges fast up to x = (a + 1)/(a + b + 2); beyond it I_x(a, b) = 1 − I_{1−x}(b, a).
 */
export function incompleteBeta(x: number, a: number, b: number): number {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  if (x > (a + 1) / (a + b + 2)) return 1 - incompleteBeta(1 - x, b, a);
  const front = Math.exp(
    a * Math.log(x) + b * Math.log1p(-x) + logGamma(a + b) - logGamma(a) - logGamma(b),
  );
  return (front * fraction(x, a, b)) / a;
}

const tiny = 1e-300; // in the place of a denominator of 0
const mostTerms = 10_000;

/** 1/(1 + d₁/(1 + d₂/(1 + …))) from the front, as Lentz does it. */
function fraction(x: number, a: number, b: number): number {
  const safe = (value: number) => (Math.abs(value) < tiny ? tiny : value);
  let c = 1;
  let d = 1 / safe(1 - ((a + b) * x) / (a + 1));
  let value = d;
  for (let m = 1; m <= mostTerms; m++) {
    const even = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m));
    const odd = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
    let factor = 1;
    for (const term of [even, odd]) {
      d = 1 / safe(1 + term * d);
      c = safe(1 + term / c);
      factor = c * d;
      value *= factor;
    }
    if (Math.abs(factor - 1) < 1e-15) break;
  }
  return value;
}

/** P(T > t) of Student's t distribution with ν > 0 degrees of freedom, which need not be whole. */
export function upperTail(t: number, freedom: number): number {
  if (t === Number.POSITIVE_INFINITY) return 0;
  if (t === Number.NEGATIVE_INFINITY) return 1;
  // Whichever is small is computed as such: t² may be far smaller or far larger than ν.
  const half = freedom / (freedom + t * t);
  const beyond = incompleteBeta(half, freedom / 2, 0.5) / 2;
  return t >= 0 ? beyond : 1 - beyond;
}
