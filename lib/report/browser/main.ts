// The script of a page: draws its charts, and again when the reader changes what is shown.

import { optionOf } from "../look.js";
import type { PageData } from "../page-data.js";
import type { Theme } from "../palette.js";
import { distinct, groupsOf, type Style, styleOf } from "../series-style.js";
import { firstView, type View } from "../view.js";

interface Drawing {
  setOption(option: object, replace: true): void;
  resize(): void;
}

declare const echarts: {
  init(element: Element, theme: null, options: { renderer: "svg" }): Drawing;
};

/** What the reader chose; kept while the page loads itself again. */
interface Choice {
  axis: number;
  log: boolean;
  smoothing: number;
  /** Names of series, by the title of their chart. */
  hidden: Record<string, string[]>;
  hiddenGroups: string[];
  /** Places of the folded tables that are open. */
  open: number[];
  scroll: number;
}

const { charts, reload } = JSON.parse(document.getElementById("data")!.textContent!) as PageData;
const key = `onehour ${location.pathname}`;
const choice: Choice = {
  ...{ axis: firstView.axis, log: firstView.log, smoothing: firstView.smoothing },
  ...{ hidden: {}, hiddenGroups: [], open: [], scroll: 0 },
  ...kept(),
};

/** A browser may keep nothing for files. */
function kept(): Partial<Choice> {
  try {
    return JSON.parse(sessionStorage.getItem(key) ?? "{}");
  } catch {
    return {};
  }
}

function keep(): void {
  try {
    sessionStorage.setItem(key, JSON.stringify(choice));
  } catch {}
}

const dark = matchMedia("(prefers-color-scheme: dark)");
const theme = (): Theme => (dark.matches ? "dark" : "light");

const drawings = [...document.querySelectorAll<HTMLElement>("[data-chart]")].map((element) => {
  const chart = charts[Number(element.dataset.chart)]!;
  const drawing = echarts.init(element, null, { renderer: "svg" });
  new ResizeObserver(() => drawing.resize()).observe(element);
  return { chart, drawing, key: element.previousElementSibling! };
});

const shapes: Record<string, string> = {
  circle: "M11 6a4 4 0 1 0 8 0a4 4 0 1 0 -8 0",
  triangle: "M15 1l5 9h-10z",
  rect: "M11 2h8v8h-8z",
  diamond: "M15 0l5 6l-5 6l-5 -6z",
  pin: "M11 4a4 4 0 1 1 8 0l-4 8z",
  arrow: "M15 0l5 11l-5 -3l-5 3z",
};

/** What a legend shows of a series: its line with dash, color and symbol, or the color of its area. */
function sample({ color, dash, symbol, width, isFilled }: Style, isNeutral: boolean): SVGElement {
  const space = "http://www.w3.org/2000/svg";
  const make = (name: string, attributes: Record<string, string>) => {
    const node = document.createElementNS(space, name) as SVGElement;
    for (const [attribute, value] of Object.entries(attributes))
      node.setAttribute(attribute, value);
    return node;
  };
  const svg = make("svg", { width: isFilled ? "12" : "30", height: "12", "aria-hidden": "true" });
  if (isFilled) {
    svg.append(make("rect", { width: "12", height: "12", rx: "2", fill: color }));
    return svg;
  }
  const line = { x1: "0", x2: "30", y1: "6", y2: "6", "stroke-width": "2.5" };
  const stroke = isNeutral ? "currentColor" : color;
  const dashes = dash === "solid" ? {} : { "stroke-dasharray": (dash as number[]).join(" ") };
  if (width > 0) svg.append(make("line", { ...line, stroke, ...dashes }));
  const d = shapes[symbol];
  if (d && !isNeutral) svg.append(make("path", { d, fill: color }));
  return svg;
}

/** A checkbox that shows and hides the series, or the group, of a name: it is in a list of what is hidden. */
function toggle(hidden: string[], name: string, style: Style, isNeutral: boolean): HTMLElement {
  const label = document.createElement("label");
  const input = document.createElement("input");
  input.type = "checkbox";
  input.checked = !hidden.includes(name);
  input.addEventListener("change", () => {
    if (input.checked) hidden.splice(hidden.indexOf(name), 1);
    else hidden.push(name);
    changed();
  });
  label.append(input, sample(style, isNeutral), name);
  return label;
}

/** The toggles of groups, and each chart's of what it shows of them, in the colors of the theme. */
function fillLegends(): void {
  const drawn = new Set(charts.flatMap(({ series }) => series.map(({ group }) => group)));
  const groups = distinct(charts.flatMap(groupsOf)).filter((group) => drawn.has(group));
  document.getElementById("groups")?.replaceChildren(
    ...groups.map((group) => {
      const chart = charts.find(({ series }) => series.some((one) => one.group === group))!;
      const series = chart.series.find((one) => one.group === group)!;
      return toggle(
        choice.hiddenGroups,
        group,
        { ...styleOf(chart, series, theme()), dash: "solid" },
        false,
      );
    }),
  );
  for (const { chart, key: legend } of drawings) {
    const names = distinct(chart.series.map(({ name }) => name));
    const isOfGroups = groupsOf(chart).length > 1;
    choice.hidden[chart.title] ??= [];
    const hidden = choice.hidden[chart.title]!;
    const labels = names.map((name) => {
      const series = chart.series.find((one) => one.name === name)!;
      return toggle(hidden, name, styleOf(chart, series, theme()), isOfGroups);
    });
    legend.replaceChildren(...(names.length > 1 ? labels : []));
  }
}

function draw(): void {
  for (const { chart, drawing } of drawings) {
    const view: View = {
      theme: theme(),
      axis: chart.x[choice.axis] ? choice.axis : 0,
      log: choice.log,
      smoothing: choice.smoothing,
      hidden: new Set(choice.hidden[chart.title]),
      hiddenGroups: new Set(choice.hiddenGroups),
    };
    drawing.setOption(optionOf(chart, view), true);
  }
}

function changed(): void {
  keep();
  draw();
}

for (const input of document.querySelectorAll<HTMLInputElement>("[name=axis]")) {
  input.checked = Number(input.value) === choice.axis;
  input.addEventListener("change", () => {
    choice.axis = Number(input.value);
    changed();
  });
}
const log = document.querySelector<HTMLInputElement>("#log");
log?.addEventListener("change", () => {
  choice.log = log.checked;
  changed();
});
if (log) log.checked = choice.log;
const smoothing = document.querySelector<HTMLInputElement>("#smoothing");
smoothing?.addEventListener("input", () => {
  choice.smoothing = Number(smoothing.value);
  changed();
});
if (smoothing) smoothing.value = String(choice.smoothing);
for (const [i, details] of [...document.querySelectorAll("details")].entries()) {
  details.open = choice.open.includes(i);
  details.addEventListener("toggle", () => {
    choice.open = [...choice.open.filter((one) => one !== i), ...(details.open ? [i] : [])];
    keep();
  });
}
dark.addEventListener("change", () => {
  fillLegends();
  draw();
});
fillLegends();
draw();

if (reload !== undefined) {
  scrollTo(0, choice.scroll);
  let touched = Number.NEGATIVE_INFINITY;
  for (const name of ["pointermove", "keydown", "wheel"])
    addEventListener(name, () => {
      touched = performance.now();
    });
  // Not while nobody sees it, nor under the reader's hands.
  setInterval(() => {
    if (document.hidden || performance.now() - touched < 3000) return;
    choice.scroll = scrollY;
    keep();
    location.reload();
  }, reload * 1000);
}
