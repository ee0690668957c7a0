// The page about one run or several, and the same in plain figures.

import { environmentName } from "../run-folder/run-folder.js";
import { counted } from "../text/words.js";
import { medianTop1Error } from "../train/result.js";
import { finite } from "./chart.js";
import { comparedTables } from "./compared.js";
import { environmentFields } from "./environment-fields.js";
import { page, type Section, type Table } from "./page.js";
import { paperError, runCharts } from "./run-charts.js";
import type { RunData } from "./run-data.js";

/** What a run reached, plain JSON; what is not known is absent. */
export interface RunSummary {
  name: string;
  folder: string;
  status: RunData["status"];
  minibatch: number;
  steps: number;
  epochs: number;
  /** Of training. */
  seconds: number;
  /** Fraction of the test set, at the last evaluation. */
  top1?: number;
  top5?: number;
  testLoss?: number;
  /** Of the moving average of the weights, where the run keeps one. */
  emaTop1?: number;
  /** Gradient noise scale at the end, in images, where it was measured and noise did not hide the gradient. */
  noiseScale?: number;
  /** Smallest error of an evaluation, in %. */
  bestTop1Error?: number;
  /** Of the last five evaluations, in %. */
  medianTop1Error?: number;
  /** What the paper reports for such a run, in %. */
  paperTop1Error?: number;
  /** Lines of its log that cannot be read. */
  unreadableLines: number;
  recipe: Record<string, unknown>;
  /** As the run wrote it: what rank 0 ran on. */
  environment?: RunData["environment"];
}

function known<T extends object>(values: { [K in keyof T]: T[K] | undefined }): T {
  return Object.fromEntries(
    Object.entries(values).filter(([, value]) => value !== undefined && value !== null),
  ) as T;
}

export function summaryOf(run: RunData): RunSummary {
  const { name, folder, status, recipe, minibatch, steps, epochs, end, unreadable } = run;
  const { environment } = run;
  const last = epochs.at(-1);
  return known<RunSummary>({
    name,
    folder,
    status,
    minibatch,
    steps: steps.length > 0 ? steps.at(-1)!.step + 1 : (end?.steps ?? 0),
    epochs: epochs.length,
    seconds: end?.seconds ?? Math.max(last?.seconds ?? 0, steps.at(-1)?.seconds ?? 0),
    top1: last?.top1,
    top5: last?.top5,
    testLoss: last?.testLoss,
    emaTop1: last?.emaTop1,
    noiseScale: steps.at(-1)?.noiseScale,
    bestTop1Error: last && Math.min(...epochs.map(({ top1 }) => 100 * (1 - top1))),
    medianTop1Error: medianTop1Error(epochs),
    paperTop1Error: paperError(run),
    unreadableLines: unreadable,
    recipe,
    environment,
  });
}

/** The fields of the runs' recipes, those first in which they differ. */
export const recipeTables = (summaries: readonly RunSummary[]): Table[] =>
  comparedTables(
    summaries.map(({ name, recipe }) => ({ name, fields: recipe })),
    { isFolded: true },
  );

/** What the runs ran on; none where no run tells it. */
function environmentTables(summaries: readonly RunSummary[]): Table[] {
  const runs = summaries.map(({ name, environment = {} }) => ({
    name,
    fields: environmentFields(environment),
  }));
  return comparedTables(runs, { isFolded: false });
}

const percent = (value: number | undefined) => (value === undefined ? undefined : value.toFixed(2));

/** `1.20 h`, `3.5 min` or `12 s`. */
function durationText(seconds: number): string {
  if (seconds >= 3600) return `${(seconds / 3600).toFixed(2)} h`;
  return seconds >= 60 ? `${(seconds / 60).toFixed(1)} min` : `${seconds.toFixed(0)} s`;
}

const errorOf = (top1: number | undefined) =>
  percent(top1 === undefined ? undefined : 100 * (1 - top1));

/** Columns of the table of results; those that are `optional` only where a run has such a figure. */
const columns: readonly {
  head: string;
  of: (run: RunSummary) => string | number | undefined;
  optional?: true;
}[] = [
  { head: "run", of: ({ name }) => name },
  { head: "kn", of: ({ minibatch }) => minibatch },
  { head: "epochs", of: ({ epochs }) => epochs },
  { head: "steps", of: ({ steps }) => steps },
  { head: "training time", of: ({ seconds }) => durationText(seconds) },
  { head: "last error (%)", of: ({ top1 }) => errorOf(top1) },
  { head: "moving average's (%)", of: ({ emaTop1 }) => errorOf(emaTop1), optional: true },
  { head: "best (%)", of: ({ bestTop1Error }) => percent(bestTop1Error) },
  { head: "median of five (%)", of: ({ medianTop1Error }) => percent(medianTop1Error) },
  { head: "the paper's (%)", of: ({ paperTop1Error }) => percent(paperTop1Error) },
  {
    head: "noise scale (images)",
    of: ({ noiseScale }) => noiseScale && Math.round(noiseScale),
    optional: true,
  },
  { head: "status", of: ({ status }) => status },
];

function resultTable(summaries: readonly RunSummary[]): Table {
  const shown = columns.filter(
    ({ optional, of }) => !optional || summaries.some((one) => of(one) !== undefined),
  );
  return {
    head: shown.map(({ head }) => head),
    rows: summaries.map((one) => shown.map(({ of }) => of(one))),
  };
}

function notes(runs: readonly RunData[]): string[] {
  return runs.flatMap(({ name, unreadable, steps, end, environmentProblem }) => {
    const diverged = steps.find(({ loss }) => !finite(loss));
    return [
      ...(unreadable > 0
        ? [`${name}: ${counted(unreadable, "line")} of its log cannot be read.`]
        : []),
      ...(environmentProblem
        ? [`${name}: its ${environmentName} cannot be read: ${environmentProblem}.`]
        : []),
      ...(steps.length === 0 ? [`${name}: no step is logged.`] : []),
      ...(diverged
        ? [`${name}: from step ${diverged.step} on there are losses that are not finite.`]
        : []),
      ...(end?.reason ? [`${name} failed: ${end.reason}`] : []),
    ];
  });
}

const timeText = (date: Date) => date.toISOString().slice(0, 19).replace("T", " ");

/**
 * The text of an HTML file about runs; with `reload` it loads itself again after so many seconds, and says when it was
 * written, since that of a run that was killed is not replaced.
 */
export function runPage(runs: readonly RunData[], reload?: number): string {
  const summaries = runs.map(summaryOf);
  const running = runs.filter(({ status }) => status === "running").length;
  const [only] = runs.length === 1 ? runs : [];
  const state = only ? only.status : `${running || "none"} of them running`;
  const charts = runCharts(runs);
  const environments = environmentTables(summaries);
  const sections: Section[] = [
    {
      title: "Recipe",
      text: notes(runs),
      tables: recipeTables(summaries),
    },
    ...(charts.length > 0 ? [{ title: "Training", charts }] : []),
    { title: "Result", tables: [resultTable(summaries)] },
    ...(environments.length > 0
      ? [{ title: "Environment", text: ["The machine of rank 0."], tables: environments }]
      : []),
  ];
  return page({
    title: only ? only.name : `${runs.length} runs`,
    ...(only
      ? { subtitle: `${String(only.recipe.model)} on ${String(only.recipe.dataset)}` }
      : { subtitle: runs.map(({ name }) => name).join(" · ") }),
    status: {
      text:
        reload === undefined
          ? state
          : `${state} at ${timeText(new Date())} UTC; this page loads itself again every ${reload} s`,
      isLive: running > 0,
    },
    sections,
    ...(reload === undefined ? {} : { reload }),
  });
}
