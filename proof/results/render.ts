// Renders what scripts/verify-gpu measured on GPUs into the page of benchmarks, between two markers:
//   node dist/proof/results/render.js docs/benchmarks.md bench/results
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { median } from "#lib/arrays/median.js";
import type { ContenderResult } from "#lib/bench/race.js";
import type { PartResult } from "./part-result.js";

/** A results file, as far as it is rendered; results.ts writes it. */
interface Results {
  date: string;
  device: string;
  gpu?: Record<string, string>;
  /** False where the verification was cut off. */
  done: boolean;
  parts: (Partial<PartResult> & { part: string })[];
}

/** Parts that measure images a second: `eager` without plans that cuDNN compiles. */
const measuring: readonly string[] = ["eager", "speed"];

/** What they record under `batch N against CONTENDER`, and under `batch N` alone. */
interface Race {
  ratio?: number;
  rounds?: ContenderResult[][];
  results?: ContenderResult[];
}

const markers = [
  "<!-- rendered from bench/results -->",
  "<!-- end of what is rendered -->",
] as const;
const header = [
  "GPU",
  "date",
  "parts that failed",
  "part",
  "batch",
  "images/s",
  "against",
  "images/s",
  "ratio",
];

function rowsOf({ date, gpu, done, parts }: Results): string[][] {
  const failed = parts.filter(({ ok }) => !ok).map(({ part }) => part);
  if (!done) failed.push(`cut off after ${parts.at(-1)?.part ?? "the start"}`);
  const run = [gpu?.name ?? "unknown", date.slice(0, 8), failed.join(", ") || "none"];
  const figures = parts
    .filter(({ part }) => measuring.includes(part))
    .flatMap(({ part, data = {} }) =>
      Object.entries(data).map(([name, value]) => ({ part, name, value })),
    );
  const races = figures.flatMap(({ part, name, value }) => {
    const [, batch, other = ""] = /^batch (\d+)(?: against (.+))?$/.exec(name) ?? [];
    if (batch === undefined) return [];
    const { ratio, rounds, results = [] } = value as Race;
    const rate = (i: number) => {
      const rates = rounds?.map((round) => round[i]!) ?? results.slice(i, i + 1);
      return rates.length > 0 ? median(rates.map((r) => r.imagesPerSecond)).toFixed(0) : "";
    };
    return [[...run, part, batch, rate(0), other, rate(1), ratio?.toFixed(2) ?? ""]];
  });
  return races.length > 0 ? races : [[...run, "", "", "", "", "", ""]];
}

function render(results: readonly Results[]): string {
  if (results.length === 0) return "No GPU was available yet: nothing measured.";
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  const rows = results.flatMap(rowsOf);
  return [
    "ResNet-50 at 224×224 in bf16, medians of the rounds:",
    "",
    ...[header, header.map(() => "---"), ...rows].map(line),
  ].join("\n");
}

const [page, folder] = process.argv.slice(2) as [string, string];
const files = existsSync(folder)
  ? readdirSync(folder).filter((file) => file.endsWith(".json"))
  : [];
const results = files
  .map((file) => JSON.parse(readFileSync(join(folder, file), "utf8")) as Results)
  .filter(({ device }) => device === "cuda")
  .sort((a, b) => (a.date < b.date ? -1 : 1));

const text = readFileSync(page, "utf8");
const [begin, end] = markers.map((marker) => text.indexOf(marker)) as [number, number];
if (begin < 0 || end < begin) {
  throw new Error(`${page} lacks the markers between which it is rendered: ${markers.join(" … ")}`);
}
const kept = text.slice(0, begin + markers[0].length);
writeFileSync(page, `${kept}\n${render(results)}\n${text.slice(end)}`);
