// What a chart shows, as plain data: `renderSvg` draws it in Node, `page` in a browser, both with one look.

/** How a number is written at an axis and in a tooltip. */
export type Format = keyof typeof formats;

const grouped = new Intl.NumberFormat("en-US", { maximumSignificantDigits: 4 });
const binary = ["B", "KiB", "MiB", "GiB", "TiB"];

/** The ways to write a number; JSON names one, so that Node and the browser write it alike. */
export const formats = {
  /** 0.0001 is 1e-4, 12,345.678 is 12,350. */
  number(value: number): string {
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (size >= 1e-3 && size < 1e7) return grouped.format(value).replace("-", "−");
    return value.toExponential(Number.isInteger(Math.log10(size)) ? 0 : 2).replace("e+", "e");
  },
  /** All digits: 1,281,167. */
  count: (value: number) => value.toLocaleString("en-US", { maximumFractionDigits: 0 }),
  /** As the paper writes minibatches: 8192 is 8k, and what is no such multiple has its digits. */
  minibatch: (value: number) =>
    value > 0 && value % 1024 === 0 ? `${value / 1024}k` : formats.count(value),
  /** 1536 is 1.5 KiB. */
  bytes(value: number): string {
    const power = value < 1 ? 0 : Math.min(binary.length - 1, Math.floor(Math.log2(value) / 10));
    return `${grouped.format(value / 1024 ** power)} ${binary[power]}`;
  },
  /** 0.00123 is 1.23 ms. */
  seconds(value: number): string {
    if (value === 0) return "0 s";
    const [scale, unit] = value < 1e-3 ? [1e6, "µs"] : value < 1 ? [1e3, "ms"] : [1, "s"];
    return `${grouped.format(value * Number(scale))} ${unit}`;
  },
};

/** Whether a value of a series is drawn, and no gap. */
export const finite = (value: number | null | undefined): value is number =>
  typeof value === "number" && Number.isFinite(value);

export interface Axis {
  /** With the unit, for example "learning rate" or "throughput (images/s)". */
  name: string;
  /** "switch": linear, with a toggle on the page. With `labels`, x is an index into them. */
  scale?: "linear" | "log" | "switch";
  /** Base of a logarithmic axis, 10 unless given. */
  base?: number;
  labels?: string[];
  /** "number" unless given. */
  format?: Format;
  /** What the axis must show at least; otherwise the data decide, and a linear y axis begins at 0 or near them. */
  min?: number;
  max?: number;
}

export interface Series {
  name: string;
  /** What a page shows and hides as one, for example a run; its series have one color. */
  group?: string;
  /** "line" unless given. Areas and bars of one chart and group are stacked. */
  kind?: "line" | "points" | "area" | "bar";
  /** "reference": thin, grey and dashed, for what was not measured. */
  look?: "reference";
  /** The values of x, one list for each axis of the chart's `x`. */
  x: readonly (readonly number[])[];
  /** As many; null and what is not finite is a gap. */
  y: readonly (number | null)[];
  /** The range of each value: bars for few values, a faint trace behind the line for many. */
  low?: readonly (number | null)[];
  high?: readonly (number | null)[];
  /** Whether the page's smoothing applies. */
  smooth?: boolean;
}

/** A vertical line where something happened. */
export interface Mark {
  /** A value of x for each axis of the chart's `x`. */
  x: readonly number[];
  label: string;
  group?: string;
}

/** A horizontal line to compare with. */
export interface Level {
  y: number;
  label: string;
}

/**
 * A chart of lines, points, areas or bars over one x axis, or over several that a page switches between.
 * Plain JSON. For example images per second against the number of workers, with the range of the rounds:
 *
 *     const chart: Chart = {
 *       title: "Throughput",
 *       x: [{ name: "workers", scale: "log", base: 2 }],
 *       y: { name: "images/s", min: 0 },
 *       series: [
 *         { name: "ideal", look: "reference", x: [[1, 2, 4]], y: [100, 200, 400] },
 *         { name: "measured", x: [[1, 2, 4]], y: [100, 190, 370], low: [98, 185, 361], high: [101, 193, 374] },
 *       ],
 *     };
 *     await writeFile("out.svg", renderSvg(chart, { width: 720, height: 400 }));
 *     await writeFile("out.html", page({ title: "Throughput", sections: [{ charts: [chart] }] }));
 */
export interface Chart {
  title: string;
  /** A sentence below the title, on a page. */
  note?: string;
  x: readonly Axis[];
  y: Axis;
  series: readonly Series[];
  /** In the order of their colors, those of other charts too; the groups of the series unless given. */
  groups?: readonly string[];
  marks?: readonly Mark[];
  levels?: readonly Level[];
}
