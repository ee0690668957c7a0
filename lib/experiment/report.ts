// The report on an experiment: one set of sections, as a page and as Markdown.
import { titleOf } from "../modules/pinned.js";
import type { Chart } from "../report/chart.js";
import { renderColumn } from "../report/charts.js";
import { environmentFields } from "../report/environment-fields.js";
import { page, type Section, type Table } from "../report/page.js";
import { timeLeft } from "../terminal/durations.js";
import { count, counted } from "../text/words.js";
import { figure1Chart, figure3Chart, paperChart, remarkCharts, warmupChart } from "./charts.js";
import { asBaseline, type Part, partsOf, Runs } from "./claims.js";
import { paperFigure1, paperLarge, paperTable1 } from "./paper.js";
import { experiments, figureMinibatches, pointId, type Warmup } from "./points.js";
import { apart, notShown } from "./remarks.js";
import type { ExperimentResult } from "./result.js";
import { baseline, batch, remarkSetting, type Setting } from "./setting.js";
import { equalWithin, level, type Sample, type Verdict } from "./verdicts.js";

/** `9.12 ± 0.10`, or without a deviation `9.12`. */
function errorText(sample: Sample | undefined): string | undefined {
  if (!sample) return undefined;
  const { mean, deviation } = sample;
  return `${mean.toFixed(2)}${Number.isNaN(deviation) ? "" : ` ± ${deviation.toFixed(2)}`}`;
}

/** `5`, or with what diverged of them `5, 2 diverged`. */
function runsText(runs: Runs, id: string): string {
  const all = runs.of(id);
  const diverged = all.filter(({ status }) => status === "diverged").length;
  return diverged > 0 ? `${all.length}, ${diverged} diverged` : String(all.length);
}

function figure1Table(runs: Runs, setting: Setting): Table {
  return {
    caption: "Error by minibatch, in %",
    head: ["kn", "runs", "error", "the paper's", `as kn = ${baseline}?`],
    rows: figureMinibatches(setting).map((minibatch) => {
      const verdict = minibatch === baseline ? undefined : asBaseline(runs, minibatch);
      return [
        count(minibatch),
        runsText(runs, pointId(minibatch)),
        errorText(runs.sample(pointId(minibatch))),
        paperFigure1[minibatch]?.toFixed(2),
        verdict && `${verdict.ruling}: ${verdict.reason}`,
      ];
    }),
  };
}

function table1Table(runs: Runs, { large }: Setting): Table {
  const row = (name: string, id: string, paper: keyof typeof paperTable1) => {
    const { error, deviation } = paperTable1[paper];
    return [
      name,
      runsText(runs, id),
      errorText(runs.sample(id)),
      `${error.toFixed(2)} ± ${deviation.toFixed(2)}`,
    ];
  };
  const at = (warmup: Warmup) => pointId(large, warmup);
  return {
    caption: `Error by warm-up at kn = ${count(large)}, in %`,
    head: ["warm-up", "runs", "error", `the paper's, kn = ${count(paperLarge)}`],
    rows: [
      row(`baseline, kn = ${baseline}`, pointId(baseline), "baseline"),
      row("none", at("none"), "none"),
      row("constant", at("constant"), "constant"),
      row("gradual", at("gradual"), "gradual"),
    ],
  };
}

const verdictTable = (verdicts: readonly Verdict[]): Table => ({
  caption: "Verdicts",
  head: ["claim", "verdict", "why"],
  rows: verdicts.map(({ claim, ruling, reason }) => [claim, ruling, reason]),
});

interface PartReport {
  title: string;
  text?: (setting: Setting) => string[];
  tables?: (runs: Runs, setting: Setting) => Table[];
  charts: (runs: Runs, setting: Setting) => Chart[];
}

const reports: Record<Part, PartReport> = {
  figure1: {
    title: "Figure 1: error against minibatch",
    tables: (runs, setting) => [figure1Table(runs, setting)],
    charts: (runs, setting) => [figure1Chart(runs, setting), paperChart()],
  },
  table1: {
    title: "Table 1: warm-up",
    tables: (runs, setting) => [table1Table(runs, setting)],
    charts: (runs, setting) => [warmupChart(runs, setting)],
  },
  figure3: {
    title: "Figure 3: training curves",
    charts: (runs, setting) => [figure3Chart(runs, setting)],
  },
  remarks: {
    title: "The remarks: right and wrong ways",
    text: () => [
      `The first ${remarkSetting.steps} losses at kn = ${count(remarkSetting.minibatch)}, with a warm-up and two drops ` +
        "of the rate, as deviations from those of one worker; one of 0 is not drawn. The right way differs by rounding " +
        `alone, which training makes grow. A remark holds where the median deviation of the wrong way is ${apart} ` +
        "times that of the right way, or more.",
      `Two more pitfalls are not shown, since the trainer has no way to fall into them. ${notShown.join(" ")}`,
    ],
    charts: (runs) => remarkCharts(runs),
  },
};

const hasSomething = ({ series }: Chart) =>
  series.length > 0 && series.some(({ y }) => y.length > 0);

/** The charts of a part that have something to show. */
export function chartsOf(part: Part, { runs, setting }: ExperimentResult): Chart[] {
  return reports[part].charts(new Runs(runs), setting).filter(hasSomething);
}

/** The pictures by the names of their files. */
export function picturesOf(result: ExperimentResult): Record<string, string> {
  const drawn = partsOf(result.name).flatMap((part) => {
    const charts = chartsOf(part, result);
    return charts.length > 0
      ? [[`${part}.svg`, renderColumn(charts, { width: 720, height: 400 })] as const]
      : [];
  });
  return Object.fromEntries(drawn);
}

function partSection(part: Part, result: ExperimentResult): Section {
  const { setting, verdicts } = result;
  const runs = new Runs(result.runs);
  const { title, text, tables } = reports[part];
  return {
    title,
    text: text?.(setting) ?? [],
    charts: chartsOf(part, result),
    tables: [...(tables?.(runs, setting) ?? []), verdictTable(verdicts[part] ?? [])],
  };
}

function method({ setting, firstSeed, seeds, jobs }: ExperimentResult): string[] {
  const { epochs, lr, warmupEpochs, milestones } = setting;
  return [
    `Every run has one worker with n = ${batch} images a micro-batch, whose number makes up kn, and so batch norm over ` +
      `${batch} images at every kn. ${counted(epochs, "epoch")}, rate ${lr} at 256 images and in proportion to kn, warm-up over ` +
      `${counted(warmupEpochs, "epoch")} where kn > 256, a tenth of the rate from each of the epochs ` +
      `${milestones.join(", ") || "(none)"} on. Seeds ${firstSeed} to ${firstSeed + seeds - 1}, as far as the time ` +
      `went; ${counted(jobs, "run")} side by side.`,
    "The error of a run is the median over its last five epochs' tests, as in the paper. A run that diverged counts with " +
      "the error of a guess, as one that collapsed with finite numbers does; to leave it out would flatter what makes " +
      "runs diverge. One that failed for another reason is no result and counts nowhere.",
    `Fixed before any run: means count as equal where two one-sided Welch tests exclude a difference of ${equalWithin} ` +
      `points either way, as different where one does, each at p < ${level}; otherwise a claim is undecided. There is ` +
      "no correction for the number of claims. Deviations ± are those of single runs.",
  ];
}

/** `58 min`, `3 min 20 s` */
export const durationText = (seconds: number): string => timeLeft(seconds);

function runsTable({ runs }: ExperimentResult): Table {
  return {
    caption: "All runs",
    head: ["run", "status", "error (%)", "seconds", "why"],
    rows: runs.map(({ folder, status, error, seconds, reason }) => [
      folder,
      status,
      error?.toFixed(2),
      seconds.toFixed(0),
      reason,
    ]),
    isFolded: true,
  };
}

const titleText = ({ name }: ExperimentResult) => `Experiment ${name}: ${experiments[name]}`;
const subtitleText = ({ setting }: ExperimentResult) =>
  `${titleOf(setting.model)} on ${setting.dataset}, after Goyal et al. 2017`;

/** What is known of the runs in one sentence. */
export function statusText({ status, runs, seconds }: ExperimentResult): string {
  const ended = runs.filter(({ error }) => error !== undefined).length;
  return `${status}: ${counted(ended, "run")} in ${durationText(seconds)}`;
}

function sectionsOf(result: ExperimentResult): Section[] {
  const machine = Object.entries(environmentFields(result.environment));
  const sections: Section[] = [
    ...partsOf(result.name).map((part) => partSection(part, result)),
    { title: "Method", text: method(result) },
    { title: "Runs", tables: [runsTable(result)] },
    { title: "Machine", tables: [{ head: ["", ""], rows: machine }] },
  ];
  return sections.map(({ tables = [], ...section }) => ({
    ...section,
    tables: tables.filter(({ rows }) => rows.length > 0),
  }));
}

/** How many claims have each ruling. */
function facts({ verdicts }: ExperimentResult) {
  const all = Object.values(verdicts).flat();
  return (["holds", "does not hold", "undecided"] as const).map((ruling) => ({
    name: ruling,
    value: String(all.filter((verdict) => verdict.ruling === ruling).length),
    note: `of ${counted(all.length, "claim")}`,
  }));
}

/** The result as one HTML file that needs no network. */
export function experimentPage(result: ExperimentResult): string {
  return page({
    title: titleText(result),
    subtitle: subtitleText(result),
    status: { text: statusText(result), isLive: result.status === "running" },
    facts: facts(result),
    sections: sectionsOf(result),
  });
}

const cellText = (cell: string | number | undefined) =>
  String(cell ?? "–")
    .replaceAll("|", "\\|")
    .replaceAll("\n", " ");
const rowText = (cells: readonly (string | number | undefined)[]) =>
  `| ${cells.map(cellText).join(" | ")} |`;

function tableText({ caption, head, rows }: Table): string {
  const lines = [rowText(head), `|${head.map(() => "---|").join("")}`, ...rows.map(rowText)];
  return `${caption ? `${caption}:\n\n` : ""}${lines.join("\n")}`;
}

/** The same in Markdown, with the pictures by their names. */
export function experimentMarkdown(result: ExperimentResult): string {
  const pictures = Object.keys(picturesOf(result));
  const parts = partsOf(result.name);
  const blocks = sectionsOf(result).flatMap(({ title, text = [], tables = [] }, i) => {
    const picture = pictures.find((name) => name === `${parts[i]}.svg`);
    return [
      `## ${title}`,
      ...text,
      ...(picture ? [`![${title}](${picture})`] : []),
      ...tables.map(tableText),
    ];
  });
  const head = [`# ${titleText(result)}`, `${subtitleText(result)}. ${statusText(result)}.`];
  return `${[...head, ...blocks].join("\n\n")}\n`;
}
