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
 * At most `most` values of a series: one stands for its neighbours by their mean, at the last one's place on each of
 * the `axes`. What is not finite is left out of a mean, and a bin without any finite value is a gap.
 */
export function thin<Place>(
  places: readonly Place[],
  axes: readonly ((place: Place) => number)[],
  value: (place: Place) => number | null | undefined,
  most = 600,
): Thinned {
  const size = Math.max(1, Math.ceil(places.length / most));
  const thinned: Thinned = { x: axes.map(() => []), y: [], low: [], high: [] };
  for (let begin = 0; begin < places.length; begin += size) {
    const bin = places.slice(begin, begin + size);
    const values = bin.map(value).filter(finite);
    const isGap = values.length === 0;
    axes.forEach((axis, i) => {
      thinned.x[i]!.push(axis(bin.at(-1)!));
    });
    thinned.y.push(isGap ? null : values.reduce((a, b) => a + b / values.length, 0));
    thinned.low.push(isGap ? null : Math.min(...values));
    thinned.high.push(isGap ? null : Math.max(...values));
  }
  return thinned;
}
