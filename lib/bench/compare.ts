// Compares a result of `onehour bench throughput` with one that was kept: what changed by more than the
// rounds of either differ.
import { z } from "zod";
import { UsageError } from "../errors.js";
import { titleOf } from "../modules/pinned.js";
import { isAbsent } from "../system/exists.js";
import { readText } from "../system/regular-file.js";
import { plural, shown } from "../text/words.js";
import { table } from "./table.js";
import type { ThroughputResult } from "./throughput.js";
import { measuredRows, rangeOf, rateText } from "./throughput-table.js";

const positive = z.number().positive();
const side = z.int().positive();

/** What a comparison needs of a result. */
const keptSchema = z.object({
  benchmark: z.literal("throughput"),
  settings: z.object({
    model: z.string(),
    images: z.object({ height: side, width: side, channels: side }),
    batch: side,
    precision: z.string(),
    device: z.string(),
    threads: side,
    strong: z.boolean(),
  }),
  device: z.string(),
  results: z
    .array(
      z.object({
        name: z.string(),
        workers: side,
        imagesPerSecond: positive,
        rounds: z.array(positive).min(1),
      }),
    )
    .min(1),
});

type Kept = z.infer<typeof keptSchema>;

/** A number of workers that both have. */
export interface Change {
  workers: number;
  /** Images per second: the median and the range of the rounds. */
  before: { imagesPerSecond: number; range: [number, number] };
  now: { imagesPerSecond: number; range: [number, number] };
  /** By what fraction it is faster. */
  change: number;
  /** Whether the slowest round of one is faster than the fastest of the other. */
  beyondSpread: boolean;
}

export interface Comparison {
  /** The file that was kept. */
  file: string;
  /** What keeps the two from being compared: another model, batch, precision, device or threads. */
  differences: { name: string; before: string; now: string }[];
  changes: Change[];
  /** Numbers of workers that only one of them has. */
  onlyBefore: number[];
  onlyNow: number[];
}

/**
 * Reads a result that `--json` printed.
 * @throws UsageError ERR_ONEHOUR_USAGE for a file that is missing, damaged or of something else
 */
export async function readKept(file: string): Promise<Kept> {
  const refuse = (problem: string) =>
    new UsageError(
      "ERR_ONEHOUR_USAGE",
      `${shown(file)} ${problem}; expected what \`onehour bench throughput --json\` printed`,
    );
  let value: unknown;
  try {
    value = JSON.parse(await readText(file));
  } catch (error) {
    if (isAbsent(error)) throw refuse("is not there");
    if (error instanceof SyntaxError) throw refuse("is not JSON");
    throw refuse(`cannot be read (${(error as Error).message})`);
  }
  const { success, data, error } = keptSchema.safeParse(value);
  if (success) return data;
  const { path, message } = error.issues[0]!;
  throw refuse(
    `is another thing, or damaged: ${[path.join("."), message].filter(Boolean).join(": ")}`,
  );
}

/** What must be alike in two results, in the words of the table's first line. */
function conditions({ settings, device }: Pick<Kept, "settings" | "device">) {
  const { height, width, channels } = settings.images;
  return {
    model: titleOf(settings.model),
    images: `${height}×${width}×${channels}`,
    batch: `${settings.batch} ${settings.strong ? "in all" : "a worker"}`,
    precision: settings.precision,
    device,
    threads: `${settings.threads} a worker`,
  };
}

/** Compares each number of workers, where the conditions were alike. */
export function compare(now: ThroughputResult, kept: Kept, file: string): Comparison {
  const [before, after] = [conditions(kept), conditions(now)];
  const differences = (Object.keys(after) as (keyof typeof after)[])
    .filter((name) => before[name] !== after[name])
    .map((name) => ({ name, before: before[name], now: after[name] }));
  const ours = measuredRows(now);
  const theirs = kept.results.filter(({ name }) => name === "onehour");
  const missing = (all: readonly { workers: number }[], others: readonly { workers: number }[]) =>
    all
      .map(({ workers }) => workers)
      .filter((count) => !others.some(({ workers }) => workers === count));
  const figures = (row: Kept["results"][number]) => ({
    imagesPerSecond: row.imagesPerSecond,
    range: rangeOf(row),
  });
  const changes = ours.flatMap((row): Change[] => {
    const other = theirs.find(({ workers }) => workers === row.workers);
    if (other === undefined || differences.length > 0) return [];
    const [a, b] = [figures(other), figures(row)];
    return [
      {
        workers: row.workers,
        before: a,
        now: b,
        change: b.imagesPerSecond / a.imagesPerSecond - 1,
        beyondSpread: b.range[0] > a.range[1] || b.range[1] < a.range[0],
      },
    ];
  });
  return {
    ...{ file, differences, changes },
    onlyBefore: missing(theirs, ours),
    onlyNow: missing(ours, theirs),
  };
}

const workersOf = (counts: readonly number[]) =>
  plural(counts.at(-1)!, "worker", new Intl.ListFormat("en").format(counts.map(String)));

/** The comparison as a person reads it. */
export function comparisonTable({ file, ...comparison }: Comparison): string {
  const { differences, changes, onlyBefore, onlyNow } = comparison;
  const was = differences.map(({ name, before, now }) => `  ${name} was ${before}, is ${now}\n`);
  if (was.length > 0) return `\n${file} cannot be compared with this:\n${was.join("")}`;
  const range = ([low, high]: [number, number]) => `${rateText(low)} – ${rateText(high)}`;
  const rows = changes.map(({ workers, before, now, change, beyondSpread }) => [
    String(workers),
    ...[rateText(before.imagesPerSecond), range(before.range)],
    ...[rateText(now.imagesPerSecond), range(now.range)],
    `${change < 0 ? "−" : "+"}${Math.abs(100 * change).toFixed(1)} %`,
    beyondSpread ? (change > 0 ? "faster" : "slower") : "within the spread",
  ]);
  const header = ["workers", "before", "range", "now", "range", "change", ""];
  return [
    `\nagainst ${file}, in images/s\n`,
    rows.length > 0 ? table([header, ...rows]) : "",
    onlyBefore.length > 0 ? `${workersOf(onlyBefore)}: only in ${file}\n` : "",
    onlyNow.length > 0 ? `${workersOf(onlyNow)}: not in ${file}\n` : "",
  ].join("");
}
