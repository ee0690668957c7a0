// The result of an experiment as a terminal shows it: errors and verdicts.
import { table } from "../bench/table.js";
import { wrap } from "../terminal/columns.js";
import { Runs } from "./claims.js";
import { pointsOf } from "./points.js";
import { statusText } from "./report.js";
import type { ExperimentResult } from "./result.js";
import type { Ruling } from "./verdicts.js";

const columns = 80;
const longest: Ruling = "does not hold";
const indent = longest.length + 2;

/** A word in a column of its own, and beside it texts, each from a new line on. */
function item(word: string, ...texts: string[]): string {
  const lines = texts.flatMap((text) => wrap(text, columns - indent));
  return lines.map((line, i) => `${(i === 0 ? word : "").padEnd(indent)}${line}\n`).join("");
}

export function experimentText(result: ExperimentResult): string {
  const runs = new Runs(result.runs);
  const rows = pointsOf(result.name, result.setting)
    .filter(({ once }) => !once)
    .sort((a, b) => a.recipe.accumulate! - b.recipe.accumulate!)
    .flatMap(({ id, label }) => {
      const sample = runs.sample(id);
      if (!sample) return [];
      const { count, mean, deviation } = sample;
      const diverged = runs.of(id).filter(({ status }) => status === "diverged").length;
      const row = [
        String(count),
        mean.toFixed(2),
        Number.isNaN(deviation) ? "–" : deviation.toFixed(2),
        diverged > 0 ? `${label}: ${diverged} diverged` : label,
      ];
      return [row];
    });
  const verdicts = Object.values(result.verdicts).flat();
  const failed = result.runs.filter(({ status }) => status === "failed");
  return [
    `${statusText(result)}\n`,
    ...(rows.length > 0 ? ["\n", table([["seeds", "error (%)", "±", ""], ...rows])] : []),
    "\n",
    ...(verdicts.length === 0
      ? ["no verdict: of the runs that have ended alone, the paper claims nothing\n"]
      : []),
    ...verdicts.map(({ claim, ruling, reason }) => item(ruling, `${claim}:`, reason)),
    ...failed.map(({ folder, reason }) => item("failed", `${folder}:`, `${reason}`)),
  ].join("");
}
