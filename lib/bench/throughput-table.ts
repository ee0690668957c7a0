// The result of `onehour bench throughput` as a person reads it, within 80 columns.
import { usableCores } from "../device/cores.js";
import { titleOf } from "../modules/pinned.js";
import { count, plural } from "../text/words.js";
import { defaultRounds } from "./race.js";
import type { Scaling } from "./scaling.js";
import { bar, table } from "./table.js";
import type { ThroughputResult, ThroughputRow } from "./throughput.js";

type Measured = ThroughputRow & { scaling: Scaling };

/** The numbers of workers of a result, without PyTorch. */
export function measuredRows({ results }: Pick<ThroughputResult, "results">): Measured[] {
  return results.filter((row): row is Measured => row.scaling !== undefined);
}

/** The smallest and the largest round. */
export const rangeOf = ({ rounds }: Pick<ThroughputRow, "rounds">): [number, number] => [
  Math.min(...rounds),
  Math.max(...rounds),
];

export const rateText = (rate: number): string =>
  rate.toLocaleString("en-US", {
    minimumFractionDigits: rate < 1000 ? 1 : 0,
    maximumFractionDigits: rate < 1000 ? 1 : 0,
  });

export const percent = (fraction: number): string => `${(100 * fraction).toFixed(1)} %`;

export const megabytes = (bytes: number): string => `${count(Math.round(bytes / 1e6))} MB`;

/** A rate of operations. */
export const gigaflops = (rate: number): string => `${count(Math.round(rate / 1e9))} GFLOP/s`;

/** Images, batch, precision and threads, and in a line of its own the device. */
export function describeSettings({ settings, device }: ThroughputResult): string {
  const { height, width, channels } = settings.images;
  const images = settings.strong
    ? `batch ${settings.batch} in all`
    : `batch ${settings.batch} a worker`;
  return (
    `${titleOf(settings.model)}, ${height}×${width}×${channels}, ${images}, ` +
    `${settings.precision}, threads per worker: ${settings.threads}\n${device}`
  );
}

function rates(result: ThroughputResult): string {
  const [one] = measuredRows(result).filter(({ workers }) => workers === 1);
  const rows = result.results.map((row) => {
    const [low, high] = rangeOf(row);
    const { efficiency } = row.scaling ?? {};
    return [
      row.name === "onehour" ? String(row.workers) : row.name,
      rateText(row.imagesPerSecond),
      `${rateText(low)} – ${rateText(high)}`,
      rateText(row.imagesPerSecond / row.workers),
      row.scaling ? (efficiency === undefined ? "–" : percent(efficiency)) : "",
      ...(efficiency === undefined ? [""] : [bar(efficiency, 16)]),
    ];
  });
  const header = ["workers", "images/s", "range", "a worker", "efficiency", one ? "of ideal" : ""];
  return table([header, ...rows]);
}

function splits(result: ThroughputResult): string {
  const rows = result.results.map((row) => {
    const name = row.name === "onehour" ? String(row.workers) : row.name;
    const memory = [row.plannedBytes === undefined ? "" : megabytes(row.plannedBytes)];
    const peak = megabytes(row.peakBytes);
    if (row.scaling === undefined) return [name, "", "", "", "", "", "", ...memory, peak];
    const { stepSeconds, split, peakShare } = row.scaling;
    const { compute, exposedCommunication, inputWait, update } = split;
    return [
      name,
      (1000 * stepSeconds).toFixed(1),
      ...[compute, exposedCommunication, inputWait, update].map((part) =>
        percent(part / stepSeconds),
      ),
      percent(peakShare),
      ...memory,
      peak,
    ];
  });
  const header = ["workers", "step, ms", "compute", "exposed", "input", "update", "MFU"];
  return table([[...header, "planned", "peak"], ...rows]);
}

/** The result as a person reads it. */
export function throughputTable(result: ThroughputResult): string {
  const { settings, ratio, steps, peak } = result;
  const ours = measuredRows(result);
  const lines = [
    `${describeSettings(result)}\n`,
    `median and range of ${defaultRounds} interleaved rounds of ${plural(steps, "step")}\n\n`,
    rates(result),
    "\n",
    splits(result),
    "\nexposed: communication that computation does not hide, the step minus the same\n" +
      "without its collectives; input: the device had nothing to do; MFU: of the peak\n" +
      `of matrix products, ${gigaflops(peak)} a worker; ` +
      "planned and peak: memory of a worker\n",
  ];
  const wanted = Math.max(...ours.map(({ workers }) => workers)) * settings.threads;
  if (settings.device === "cpu" && wanted > usableCores())
    lines.push(
      `\n${plural(wanted, "thread")} shared ${plural(usableCores(), "core")}: no speed-up can be ideal.\n` +
        "Compare with --threads 1 or fewer workers.\n",
    );
  if (!ours.some(({ workers }) => workers === 1))
    lines.push("\nEfficiency is against one worker, which was not measured: add 1 to --workers.\n");
  if (ratio !== undefined)
    lines.push(`\nonehour / PyTorch, one process each: ${ratio.toFixed(2)}\n`);
  return lines.join("");
}
