// The table of `onehour bench all-reduce`, in nccl-tests' columns. Its lines are printed as they are measured, so the
// widths are fixed.
import { plural } from "../text/words.js";
import type { AllReduceRow } from "./all-reduce.js";
import type { AllReduceResult } from "./all-reduce-bench.js";
import type { Link } from "./links.js";

const columns = [
  { title: "size", unit: "(B)", width: 10 },
  { title: "count", unit: "(elements)", width: 10 },
  { title: "type", unit: "", width: 5 },
  { title: "redop", unit: "", width: 5 },
  { title: "time", unit: "(us)", width: 8 },
  { title: "algbw", unit: "(GB/s)", width: 7 },
  { title: "busbw", unit: "(GB/s)", width: 7 },
  { title: "#wrong", unit: "", width: 6 },
] as const;

const line = (cells: readonly string[]) => {
  const padded = cells.map((cell, i) => cell.padStart(columns[i]!.width));
  return `${padded.join("  ").trimEnd()}\n`;
};

/** What stands above the rows. */
export function tableHead({
  workers,
  device,
}: Pick<AllReduceResult, "workers" | "device">): string {
  const title = `all-reduce of ${plural(workers, "rank")}, in place, in the memory of ${device}`;
  const [titles, units] = [columns.map((one) => one.title), columns.map((one) => one.unit)];
  return `${title}\n\n${line(titles)}${line(units)}`;
}

export function rowText({ size, count, time, algbw, busbw, wrong }: AllReduceRow): string {
  const rates = [algbw, busbw].map((rate) => rate.toFixed(2));
  const duration = time.toFixed(time < 1000 ? 2 : 0);
  return line([`${size}`, `${count}`, "float", "sum", duration, ...rates, `${wrong}`]);
}

/** What stands below the rows. */
export function tableEnd({ links, rows }: Pick<AllReduceResult, "links" | "rows">): string {
  const mean = rows.reduce((sum, { busbw }) => sum + busbw, 0) / rows.length;
  return `\n${linksText(links)}average bus bandwidth: ${mean.toFixed(2)} GB/s\n`;
}

/** "0–1, 0–2: shared memory": the pairs of each kind, which a port does not make another. */
export function linksText(links: readonly Link[], most = 6): string {
  const kinds = new Map<string, string[]>();
  for (const { ranks, link } of links) {
    const kind = link.replace(/:\d+$/, "");
    kinds.set(kind, [...(kinds.get(kind) ?? []), ranks.join("–")]);
  }
  return [...kinds]
    .map(([kind, pairs]) => {
      const more = pairs.length > most ? ` and ${plural(pairs.length - most, "more pair")}` : "";
      return `ranks ${pairs.slice(0, most).join(", ")}${more}: ${kind}\n`;
    })
    .join("");
}
