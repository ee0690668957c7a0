// How each series of a chart is drawn: the colors, dashes and symbols that tell them apart.

import type { Chart, Series } from "./chart.js";
import { dashes, lines, nth, symbols, type Theme, tones } from "./palette.js";

/** How one series is drawn. */
export interface Style {
  color: string;
  dash: "solid" | readonly number[];
  symbol: string;
  /** Of the line, in pixels; 0 without one. */
  width: number;
  isFilled: boolean;
}

export const distinct = (values: readonly (string | undefined)[]): string[] => [
  ...new Set(values.filter((value) => value !== undefined)),
];

export const groupsOf = ({ groups, series }: Chart): readonly string[] =>
  groups ?? distinct(series.map(({ group }) => group));

/** Groups differ in color and symbol, their series in dashes; without groups series differ in all three. */
export function styleOf(chart: Chart, series: Series, theme: Theme): Style {
  if (series.look === "reference")
    return { color: tones.soft[theme], dash: [3, 3], symbol: "none", width: 1.5, isFilled: false };
  const measured = chart.series.filter(({ look }) => look === undefined);
  const names = distinct(measured.map(({ name }) => name));
  const groups = groupsOf(chart);
  const isFilled = series.kind === "area" || series.kind === "bar";
  const byName = groups.length < 2 || isFilled;
  const color = byName ? names.indexOf(series.name) : groups.indexOf(series.group!);
  return {
    color: nth(lines, color)[theme],
    dash: isFilled ? "solid" : nth(dashes, names.indexOf(series.name)),
    symbol: nth(symbols, color + Math.floor(color / lines.length)), // another one where colors begin anew
    width: series.kind === "points" ? 0 : 2,
    isFilled,
  };
}
