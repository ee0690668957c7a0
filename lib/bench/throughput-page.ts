// The chart of `onehour bench throughput`, as an SVG file and on a page.
import { titleOf } from "../modules/pinned.js";
import type { Chart } from "../report/chart.js";
import { renderSvg } from "../report/charts.js";
import { environmentFields } from "../report/environment-fields.js";
import { page } from "../report/page.js";
import { plural } from "../text/words.js";
import type { ThroughputResult } from "./throughput.js";
import {
  describeSettings,
  gigaflops,
  measuredRows,
  megabytes,
  percent,
  rangeOf,
  rateText,
} from "./throughput-table.js";

/** Images per second against the number of workers, with the range of the rounds and the ideal. */
export function throughputChart(result: ThroughputResult): Chart {
  const rows = measuredRows(result);
  const workers = rows.map((row) => row.workers);
  const [first] = rows as [(typeof rows)[number]];
  const ranges = rows.map(rangeOf);
  return {
    title: `Throughput of ${titleOf(result.settings.model)}`,
    note: `The points are medians, the bars the slowest and the fastest of ${plural(first.rounds.length, "round")}.`,
    x: [{ name: "workers", scale: "log", base: 2 }],
    y: { name: "images/s", min: 0 },
    series: [
      {
        name: first.workers === 1 ? "ideal" : `ideal, from ${plural(first.workers, "worker")}`,
        look: "reference",
        x: [workers],
        y: workers.map((k) => (k / first.workers) * first.imagesPerSecond),
      },
      {
        name: "measured",
        x: [workers],
        y: rows.map(({ imagesPerSecond }) => imagesPerSecond),
        low: ranges.map(([low]) => low),
        high: ranges.map(([, high]) => high),
      },
    ],
  };
}

/** The chart as the text of an SVG file. */
export function throughputSvg(result: ThroughputResult): string {
  return renderSvg(throughputChart(result), { width: 720, height: 420 });
}

/** Chart, tables and environment as one HTML file that needs no network. */
export function throughputPage(result: ThroughputResult): string {
  const { steps, peak } = result;
  const rows = measuredRows(result);
  const splitChart: Chart = {
    title: "Where a step's time goes",
    x: [{ name: "workers", labels: rows.map(({ workers }) => String(workers)) }],
    y: { name: "time of a step", format: "seconds", min: 0 },
    series: parts.map(([name, key]) => ({
      name,
      kind: "bar" as const,
      x: [rows.map((_, i) => i)],
      y: rows.map(({ scaling }) => scaling.split[key]),
    })),
  };
  return page({
    title: `Throughput of ${titleOf(result.settings.model)}`,
    subtitle: describeSettings(result).replace("\n", ", "),
    sections: [
      {
        text: [`Medians of interleaved rounds of ${plural(steps, "step")}.`],
        charts: [throughputChart(result), splitChart],
        tables: [
          {
            caption: "Images per second",
            head: ["workers", "images/s", "slowest", "fastest", "a worker", "efficiency", "MFU"],
            rows: result.results.map((row) => {
              const { efficiency, peakShare } = row.scaling ?? {};
              return [
                row.name === "onehour" ? row.workers : row.name,
                ...[row.imagesPerSecond, ...rangeOf(row), row.imagesPerSecond / row.workers].map(
                  rateText,
                ),
                efficiency === undefined ? undefined : percent(efficiency),
                peakShare === undefined ? undefined : percent(peakShare),
              ];
            }),
          },
          {
            caption: "A step in milliseconds, and the memory of a worker",
            head: ["workers", "step", ...parts.map(([name]) => name), "planned", "peak"],
            rows: rows.map(({ workers, scaling, plannedBytes = 0, peakBytes }) => [
              workers,
              ...[scaling.stepSeconds, ...parts.map(([, key]) => scaling.split[key])].map(
                (seconds) => (1000 * seconds).toFixed(2),
              ),
              ...[plannedBytes, peakBytes].map(megabytes),
            ]),
          },
        ],
      },
      {
        title: "Measured on",
        text: [`Peak of matrix products, the whole of MFU: ${gigaflops(peak)} a worker.`],
        tables: [
          {
            head: ["", ""],
            rows: Object.entries(environmentFields(result.environment)),
          },
        ],
      },
    ],
  });
}

const parts = [
  ["compute", "compute"],
  ["update", "update"],
  ["exposed communication", "exposedCommunication"],
  ["input wait", "inputWait"],
] as const;

/** What draws a result, by the ending of the file. */
export const pictures: Readonly<Record<string, (result: ThroughputResult) => string>> = {
  ".svg": throughputSvg,
  ".html": throughputPage,
};
