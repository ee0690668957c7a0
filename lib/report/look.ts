// How a chart looks: the option object of ECharts for it, in Node and in the browser.

import { type Axis, type Chart, finite, formats, type Series } from "./chart.js";
import { legendOf } from "./legend.js";
import { fontFamily, tones } from "./palette.js";
import { groupsOf, styleOf } from "./series-style.js";
import { isShown, nameIn, type View } from "./view.js";

/** What names a series where all are listed together. */
function fullName(chart: Chart, series: Series, view: View): string {
  const { group } = series;
  const isOnly = groupsOf(chart).length < 2;
  const name = nameIn(view, series);
  return group === undefined || isOnly ? name : `${group} · ${name}`;
}

const isLog = ({ scale }: Axis, view: View) => scale === "log" || (scale === "switch" && view.log);

/** A value that the axis can show, or a gap. */
function placed(value: number | null | undefined, axis: Axis, view: View): number | null {
  return finite(value) && (value > 0 || !isLog(axis, view)) ? value : null;
}

/** An exponential moving average without the bias of its start; gaps stay. */
export function smoothed(values: readonly (number | null)[], weight: number): (number | null)[] {
  let sum = 0;
  let weights = 0;
  return values.map((value) => {
    if (!finite(value)) return null;
    sum = weight * sum + (1 - weight) * value;
    weights = weight * weights + (1 - weight);
    return sum / weights;
  });
}

const most = { symbols: 24, bars: 40 };

/** A symbol at each of few values, at some of many, and where a value has no neighbour. */
function symbolAt(values: readonly (number | null)[], index: number, offset: number): boolean {
  if (values.length <= most.symbols) return true;
  const isAlone = !finite(values[index - 1]) && !finite(values[index + 1]);
  const every = Math.ceil(values.length / 8);
  return isAlone || index % every === Math.floor(every / 2 + (offset * every) / 6) % every;
}

/** The values of a series as the view shows them, one for each x. */
function valuesOf(series: Series, chart: Chart, view: View): (number | null)[] {
  const shown = series.smooth ? smoothed(series.y, view.smoothing) : series.y;
  return shown.map((value) => placed(value, chart.y, view));
}

function drawSeries(chart: Chart, series: Series, index: number, view: View): object[] {
  const { color, dash, symbol, width } = styleOf(chart, series, view.theme);
  const { kind = "line", low, high } = series;
  const x = series.x[view.axis] ?? [];
  const values = valuesOf(series, chart, view);
  const data = x.map((at, i) => [chart.x[view.axis]?.labels?.[at] ?? at, values[i] ?? null]);
  const isFilled = kind === "area" || kind === "bar";
  const drawn = {
    type: kind === "bar" ? "bar" : kind === "points" ? "scatter" : "line",
    data,
    color,
    symbolSize: kind === "points" ? 10 : 7,
    symbol: (_: unknown, { dataIndex }: { dataIndex: number }) =>
      symbol !== "none" && !isFilled && symbolAt(values, dataIndex, index) ? symbol : "none",
    ...(kind === "line" ? { lineStyle: { type: dash, width, color } } : {}),
    ...(kind === "area"
      ? {
          areaStyle: { color, opacity: 0.75 },
          lineStyle: { width: 1, color: tones.paper[view.theme] },
        }
      : {}),
    ...(kind === "bar" ? { barMaxWidth: 56, itemStyle: { color } } : {}),
    ...(isFilled ? { stack: series.group ?? "all" } : {}),
    emphasis: { disabled: true },
    z: 3,
  };
  if (kind === "points") drawn.symbol = (() => symbol) as never;
  if (!low || !high) return [drawn];
  const ends = (i: number) =>
    [low[i], high[i]].map((value) => [x[i]!, placed(value, chart.y, view)]);
  const isBars = x.length <= most.bars;
  const range = {
    // A series of its own, for which the axis makes room.
    type: "line",
    data: x.flatMap((at, i) => {
      const pair = ends(i);
      if (pair.some(([, y]) => y === null)) return [[at, null]];
      return isBars ? [...pair, [at, null]] : pair;
    }),
    showSymbol: false,
    silent: true,
    lineStyle: isBars ? { width: 1.5, color, opacity: 0.9 } : { width: 1, color, opacity: 0.25 },
    emphasis: { disabled: true },
    z: 2,
  };
  return [range, drawn];
}

function drawMarks(chart: Chart, view: View): object[] {
  const { theme } = view;
  const marks = (chart.marks ?? []).filter(
    ({ group }) => group === undefined || !view.hiddenGroups.has(group),
  );
  const levels = chart.levels ?? [];
  if (marks.length + levels.length === 0) return [];
  const label = {
    color: tones.soft[theme],
    fontSize: 12,
    show: true,
    // Legible where a line of the chart crosses it.
    textBorderColor: tones.paper[theme],
    textBorderWidth: 4,
  };
  const vertical = marks.map(({ x, label: text }) => ({
    xAxis: x[view.axis],
    lineStyle: { color: tones.alert[theme], type: [4, 3], width: 1 },
    label: {
      ...label,
      color: tones.alert[theme],
      formatter: marks.length <= 4 ? text : "",
      position: "insideEndTop",
    },
  }));
  const horizontal = levels.map(({ y, label: text }) => ({
    yAxis: y,
    lineStyle: { color: tones.soft[theme], type: [3, 3], width: 1 },
    label: { ...label, formatter: text, position: "insideStartTop" },
  }));
  const data = [...vertical, ...horizontal];
  return [{ type: "line", data: [], markLine: { symbol: "none", silent: true, data }, z: 4 }];
}

/** Powers between two labels: left to itself, ECharts writes those at the ends of many powers alone. */
function powersBetween({ base = 10, min, max }: Axis): object {
  if (base === 2) return { interval: 1 };
  if (min === undefined || max === undefined) return {};
  return { interval: Math.max(1, Math.round(Math.log10(max / min) / 5)) };
}

function drawAxis(axis: Axis, view: View, isX: boolean): object {
  const { theme } = view;
  const format = formats[axis.format ?? "number"];
  const log = isLog(axis, view);
  const { min, max } = axis;
  return {
    type: axis.labels ? "category" : log ? "log" : "value",
    ...(axis.labels ? { data: axis.labels } : {}),
    ...(log ? { logBase: axis.base ?? 10, ...powersBetween(axis) } : {}),
    ...(min !== undefined && !(log && min <= 0) ? { min } : {}),
    ...(max !== undefined ? { max } : {}),
    ...(isX || axis.min !== undefined ? {} : { scale: true }),
    name: axis.name,
    ...(isX
      ? { nameLocation: "middle", nameGap: 30, boundaryGap: axis.labels !== undefined }
      : { nameLocation: "end", nameGap: 14 }),
    nameTextStyle: { color: tones.soft[theme], fontSize: 12, align: isX ? "center" : "left" },
    axisLabel: {
      color: tones.soft[theme],
      fontSize: 12,
      hideOverlap: true,
      ...(axis.labels ? {} : { formatter: format }),
    },
    axisLine: { show: isX, onZero: false, lineStyle: { color: tones.rule[theme] } },
    axisTick: { show: isX, lineStyle: { color: tones.rule[theme] } },
    splitLine: { show: !isX, lineStyle: { color: tones.rule[theme] } },
    splitNumber: 4,
  };
}

const escapes: Record<string, string> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

/** A text inside HTML. */
export const escapeHtml = (text: string) => text.replace(/[&<>"']/g, (found) => escapes[found]!);

/** Each visible series at its value next to x: series of different runs have their values at different places. */
function tooltipOf(chart: Chart, view: View, at: number): string {
  const axis = chart.x[view.axis]!;
  const rows = chart.series.flatMap((series) => {
    const x = series.x[view.axis] ?? [];
    const values = valuesOf(series, chart, view);
    let next: number | undefined;
    x.forEach((value, i) => {
      const isNearer = next === undefined || Math.abs(value - at) < Math.abs(x[next]! - at);
      if (isNearer && finite(values[i])) next = i;
    });
    if (next === undefined || !isShown(series, view)) return [];
    const { color } = styleOf(chart, series, view.theme);
    const text = formats[chart.y.format ?? "number"](values[next]!);
    return [
      `<tr><td><span style="color:${color}">■</span> ${escapeHtml(fullName(chart, series, view))}</td><td>${escapeHtml(text)}</td></tr>`,
    ];
  });
  const place = axis.labels?.[at] ?? formats[axis.format ?? "number"](at);
  const title = `${escapeHtml(axis.name)} ${escapeHtml(place)}`;
  return `<b>${title}</b><table class="tooltip">${rows.join("")}</table>`;
}

/** The option object of ECharts for what a view shows of a chart. */
export function optionOf(chart: Chart, view: View): object {
  const { theme, width } = view;
  const axis = chart.x[view.axis] ?? chart.x[0]!;
  const shown = chart.series.filter((series) => isShown(series, view));
  const color = tones.text[theme];
  const legend = legendOf(chart, view);
  const tooltip = {
    trigger: "axis",
    confine: true,
    transitionDuration: 0,
    backgroundColor: tones.panel[theme],
    borderColor: tones.rule[theme],
    textStyle: { color, fontSize: 13 },
    axisPointer: { type: "line", lineStyle: { color: tones.soft[theme], type: "solid" } },
    formatter: (at: { axisValue: number; dataIndex: number }[]) =>
      tooltipOf(chart, view, axis.labels ? at[0]!.dataIndex : at[0]!.axisValue),
  };
  const heading = {
    title: { text: chart.title, left: 16, top: 14, textStyle: { color, fontSize: 16 } },
    legend: legend.option,
  };
  return {
    animation: false,
    textStyle: { fontFamily },
    ...(width === undefined ? { tooltip } : { backgroundColor: tones.paper[theme], ...heading }),
    grid: {
      ...(width === undefined
        ? { left: 4, right: 14, top: 10, bottom: 4 }
        : { left: 20, right: 28, top: 78 + legend.height, bottom: 20 }),
      outerBoundsMode: "same",
      outerBoundsContain: "all",
    },
    xAxis: drawAxis(axis, view, true),
    yAxis: drawAxis(chart.y, view, false),
    series: [
      ...shown.flatMap((series) => drawSeries(chart, series, chart.series.indexOf(series), view)),
      ...drawMarks(chart, view),
      ...(width === undefined ? [] : legend.series),
    ],
  };
}
