// The result of an experiment as a terminal shows it: errors and verdicts.
import { table } from "../bench/table.js";
import { wrap } from "../terminal/columns.js";
import { count } from "../text/words.js";
import { Runs } from "./claims.js";
import { statusText } from "./report.js";
import type { ExperimentResult } from "./result.js";

const columns = 80;

const item = (text: string) =>
  wrap(text, columns - 4)
    .map((line, i) => `${i === 0 ? "  - " : "    "}${line}\n`)
    .join("");

export function experimentText(result: ExperimentResult): string {
  const runs = new Runs(result.runs);
  const points = [...new Set(result.runs.map(({ point }) => point))].filter(
    (id) => !id.startsWith("remark-"),
  );
  const rows = points.flatMap((id) => {
    const all = runs.of(id);
    if (all.length === 0) return [];
    const sample = runs.sample(id);
    const [, minibatch, warmup = ""] = id.split("-");
    const diverged = all.filter(({ status }) => status === "diverged").length;
    const row = [
      count(Number(minibatch)),
      String(all.length),
      sample?.mean.toFixed(2) ?? "–",
      sample && !Number.isNaN(sample.deviation) ? sample.deviation.toFixed(2) : "–",
      [warmup, diverged > 0 ? `${diverged} diverged` : ""].filter(Boolean).join(", "),
    ];
    return [row];
  });
  const sorted = rows.sort(
    (a, b) => Number(a[0]!.replaceAll(",", "")) - Number(b[0]!.replaceAll(",", "")),
  );
  const verdicts = Object.values(result.verdicts).flat();
  const failed = result.runs.filter(({ status }) => status === "failed");
  return [
    `${statusText(result)}\n`,
    ...(rows.length > 0
      ? ["\n", table([["kn", "runs", "error (%)", "±", "warm-up"], ...sorted])]
      : []),
    "\n",
    ...verdicts.map(({ claim, ruling, reason }) => item(`${ruling}: ${claim}. ${reason}`)),
    ...failed.map(({ folder, reason }) => item(`failed: ${folder}: ${reason}`)),
  ].join("");
}
