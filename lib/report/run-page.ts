// The page about one run or several, and the same in plain figures.

import { medianTop1Error } from "../train/result.js";
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
  /** Smallest error of an evaluation, in %. */
  bestTop1Error?: number;
  /** Of the last five evaluations, in %. */
  medianTop1Error?: number;
  /** What the paper reports for such a run, in %. */
  paperTop1Error?: number;
  /** Lines of its log that cannot be read. */
  unreadableLines: number;
  recipe: Record<string, unknown>;
}

function known<T extends object>(values: { [K in keyof T]: T[K] | undefined }): T {
  return Object.fromEntries(
    Object.entries(values).filter(([, value]) => value !== undefined && value !== null),
  ) as T;
}

export function summaryOf(run: RunData): RunSummary {
  const { name, folder, status, recipe, minibatch, steps, epochs, end, unreadable } = run;
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
    bestTop1Error: last && Math.min(...epochs.map(({ top1 }) => 100 * (1 - top1))),
    medianTop1Error: medianTop1Error(epochs),
    paperTop1Error: paperError(run),
    unreadableLines: unreadable,
    recipe,
  });
}

const valueText = (value: unknown) =>
  value === undefined || value === null
    ? undefined
    : typeof value === "object"
      ? JSON.stringify(value)
      : String(value);

/** The fields of the runs' recipes, those first in which they differ. */
export function recipeTables(summaries: readonly RunSummary[]): Table[] {
  const names = [...new Set(summaries.flatMap(({ recipe }) => Object.keys(recipe)))];
  const rows = names.map((name) => [name, ...summaries.map((one) => valueText(one.recipe[name]))]);
  const differs = ([, ...values]: readonly unknown[]) => new Set(values).size > 1;
  const head = ["field", ...summaries.map(({ name }) => name)];
  const [different, alike] = [rows.filter(differs), rows.filter((row) => !differs(row))];
  const shared = alike.map(([name, value]) => [name, value]);
  return [
    ...(different.length > 0 ? [{ caption: "What differs", head, rows: different }] : []),
    {
      caption: summaries.length > 1 ? "What all have alike" : "All fields",
      head: ["field", "value"],
      rows: shared,
      isFolded: true,
    },
  ];
}

const percent = (value: number | undefined) => (value === undefined ? undefined : value.toFixed(2));

function resultTable(summaries: readonly RunSummary[]): Table {
  return {
    head: [
      ...["run", "status", "kn", "epochs", "steps", "minutes"],
      ...["last error (%)", "best (%)", "median of five (%)", "the paper's (%)"],
    ],
    rows: summaries.map((one) => [
      one.name,
      one.status,
      one.minibatch,
      one.epochs,
      one.steps,
      (one.seconds / 60).toFixed(1),
      percent(one.top1 === undefined ? undefined : 100 * (1 - one.top1)),
      percent(one.bestTop1Error),
      percent(one.medianTop1Error),
      percent(one.paperTop1Error),
    ]),
  };
}

function notes(runs: readonly RunData[]): string[] {
  return runs.flatMap(({ name, unreadable, steps, end }) => [
    ...(unreadable > 0 ? [`${name}: ${unreadable} lines of its log cannot be read.`] : []),
    ...(steps.length === 0 ? [`${name}: no step is logged yet.`] : []),
    ...(end?.reason ? [`${name} failed: ${end.reason}`] : []),
  ]);
}

/** The text of an HTML file about runs; with `reload` it loads itself again after so many seconds. */
export function runPage(runs: readonly RunData[], reload?: number): string {
  const summaries = runs.map(summaryOf);
  const isRunning = runs.some(({ status }) => status === "running");
  const [only] = runs.length === 1 ? runs : [];
  const sections: Section[] = [
    {
      title: "Recipe",
      text: notes(runs),
      tables: recipeTables(summaries),
    },
    { title: "Course", charts: runCharts(runs) },
    { title: "Result", tables: [resultTable(summaries)] },
  ];
  return page({
    title: only ? only.name : `${runs.length} runs`,
    ...(only
      ? { subtitle: `${String(only.recipe.model)} on ${String(only.recipe.dataset)}` }
      : { subtitle: runs.map(({ name }) => name).join(" · ") }),
    status: {
      text: `${only ? only.status : isRunning ? "running" : "none is running"}${
        reload === undefined ? "" : `; this page loads itself again every ${reload} s`
      }`,
      isLive: isRunning,
    },
    sections,
    ...(reload === undefined ? {} : { reload }),
  });
}
