// What of a chart is shown: what the reader of a page chose, or all of a picture.

import type { Series } from "./chart.js";
import type { Theme } from "./palette.js";

export interface View {
  theme: Theme;
  /** Which of its x axes. */
  axis: number;
  /** Whether axes with scale "switch" are logarithmic. */
  log: boolean;
  /** Weight of the past in the smoothed value, 0 … 1. */
  smoothing: number;
  /** Names of series that are hidden. */
  hidden: ReadonlySet<string>;
  hiddenGroups: ReadonlySet<string>;
  /** Of a picture, in pixels: there the title and the legend are a part of it, and nothing moves. */
  width?: number;
}

/** What a page shows until the reader chooses, and a picture. */
export const firstView = {
  theme: "light",
  axis: 0,
  log: false,
  smoothing: 0.6,
  hidden: new Set<string>(),
  hiddenGroups: new Set<string>(),
} satisfies View;

/** The name of a series where all are listed, which says whether it is smoothed. */
export const nameIn = ({ smoothing }: View, { name, smooth }: Series) =>
  smooth && smoothing > 0 ? `${name}, smoothed` : name;

export function isShown({ group, name }: Series, { hidden, hiddenGroups }: View): boolean {
  return !hidden.has(name) && !(group !== undefined && hiddenGroups.has(group));
}
