// The legend of a picture: a sample and a name for each series, or for each run and for each kind of its series.

import type { Chart, Series } from "./chart.js";
import { tones } from "./palette.js";
import { distinct, groupsOf, type Style, styleOf } from "./series-style.js";
import { isShown, nameIn, type View } from "./view.js";

interface Entry {
  text: string;
  style: Style;
}

/** What a name means: the color and the symbol of a run, or the dashes of a series in each run. */
function entriesOf(chart: Chart, view: View): Entry[] {
  const shown = chart.series.filter((series) => isShown(series, view));
  const styled = (series: Series) => styleOf(chart, series, view.theme);
  const first = (key: "name" | "group", value: string) =>
    shown.find((series) => series[key] === value)!;
  const names = distinct(shown.map(({ name }) => name)).map((name) => first("name", name));
  const textOf = (series: Series) => nameIn(view, series);
  const groups = distinct(shown.map(({ group }) => group));
  if (groupsOf(chart).length < 2)
    return names.map((series) => ({ text: textOf(series), style: styled(series) }));
  const color = tones.text[view.theme];
  return [
    ...groups.map((group) => ({
      text: group,
      style: { ...styled(first("group", group)), dash: "solid" as const },
    })),
    ...names.map((series) => ({
      text: textOf(series),
      style: { ...styled(series), color, symbol: "none" },
    })),
  ];
}

/** In pixels. */
const size = { left: 16, sample: 34, text: 12, gap: 14 };

/** The width in pixels that a text has in a wide font: a picture is drawn without any at hand. */
export function textWidth(text: string, fontSize: number): number {
  const ems = [...text].map((letter) => (letter < "\u2e80" ? 0.6 : 1)); // 国 is as wide as it is high
  return ems.reduce((sum, em) => sum + em * fontSize, 0);
}

/** The entries row by row. */
function rowsOf(entries: readonly Entry[], width: number): Entry[][] {
  const rows: Entry[][] = [[]];
  let end = 0;
  for (const entry of entries) {
    const item = size.sample + 5 + textWidth(entry.text, size.text);
    if (end > 0 && end + item > width - 2 * size.left) {
      rows.push([]);
      end = 0;
    }
    rows.at(-1)!.push(entry);
    end += item + size.gap;
  }
  return rows;
}

/**
 * For ECharts, whose legend has names of series: the option, and a series without values for each entry. `height` is
 * that of all rows, in pixels.
 */
export function legendOf(
  chart: Chart,
  view: View,
): { option: object; series: object[]; height: number } {
  const rows = rowsOf(entriesOf(chart, view), view.width ?? Number.POSITIVE_INFINITY);
  const entries = rows.flat();
  const nameOf = (entry: Entry) => `legend ${entries.indexOf(entry)}`;
  const data = rows.flatMap((row, i) => [
    ...(i === 0 ? [] : [{ name: "\n" }]),
    ...row.map((entry) => ({
      name: nameOf(entry),
      ...(entry.style.isFilled ? { icon: "roundRect" } : {}),
      // ECharts draws a circle where a series has no symbol.
      ...(entry.style.symbol === "none" ? { itemStyle: { opacity: 0 } } : {}),
    })),
  ]);
  return {
    option: {
      left: size.left,
      top: 42,
      itemWidth: size.sample,
      itemGap: size.gap,
      data,
      formatter: (name: string) => entries.find((entry) => nameOf(entry) === name)!.text,
      textStyle: { color: tones.text[view.theme], fontSize: size.text },
    },
    series: entries.map((entry) => {
      const { color, dash, symbol, width } = entry.style;
      const lineStyle = { type: dash, width, color };
      return { type: "line", name: nameOf(entry), data: [], color, symbol, lineStyle };
    }),
    height: rows.length * (size.text + size.gap),
  };
}
