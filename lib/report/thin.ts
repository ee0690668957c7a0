// Thins long series for a chart: bins with the mean and the range of what lies in each.

import { finite } from "./chart.js";

/** A series with as many values in each list. */
export interface Thinned {
  /** For each axis. */
  x: number[][];
  y: (number | null)[];
  low: (number | null)[];
  high: (number | null)[];
}

/**
 * At most `most` values of a series with several x axes: a value stands for its neighbours by their mean, at the
 * last one's x. What is not finite is left out of a mean, and a bin without any finite value is a gap.
 */
export function thin(
  x: readonly (readonly number[])[],
  y: readonly (number | null | undefined)[],
  most = 600,
): Thinned {
  const size = Math.max(1, Math.ceil(y.length / most));
  const thinned: Thinned = { x: x.map(() => []), y: [], low: [], high: [] };
  for (let begin = 0; begin < y.length; begin += size) {
    const end = Math.min(y.length, begin + size);
    const values = y.slice(begin, end).filter(finite);
    const isGap = values.length === 0;
    x.forEach((axis, i) => {
      thinned.x[i]!.push(axis[end - 1]!);
    });
    thinned.y.push(isGap ? null : values.reduce((a, b) => a + b / values.length, 0));
    thinned.low.push(isGap ? null : Math.min(...values));
    thinned.high.push(isGap ? null : Math.max(...values));
  }
  return thinned;
}
