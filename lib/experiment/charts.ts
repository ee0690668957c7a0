// The charts of an experiment, in the paper's own axes.
import { type Axis, type Chart, finite, formats, type Series } from "../report/chart.js";
import { count } from "../text/words.js";
import type { Runs } from "./claims.js";
import { paperFigure1 } from "./paper.js";
import { figureMinibatches, pointId, pointsOf, remarkId, variantId } from "./points.js";
import type { RunRecord } from "./records.js";
import { deviations, remarks } from "./remarks.js";
import { baseline, type Setting } from "./setting.js";
import { sampleOf } from "./verdicts.js";

/** An error that is one: a deviation may reach beyond. */
const within = (error: number) => Math.min(100, Math.max(0, error));

/** Points of error that the paper's Figure 1 shows, from 20 to 40. */
const span = 20;

interface Place {
  minibatch: number;
  mean: number;
  deviation: number;
}

/**
 * The paper's Figure 1, so many points lower or higher that the error at the baseline is that of this experiment. Its
 * elbow is then seen beside this one, which data of so different an error would hide.
 */
function paperSeries(at: number): Series {
  const moved = at - paperFigure1[baseline]!;
  const places = Object.entries(paperFigure1);
  const by = `${Math.abs(moved).toFixed(2)} points ${moved < 0 ? "lower" : "higher"}`;
  return {
    name: `the paper's, drawn ${by}`,
    look: "reference",
    x: [places.map(([minibatch]) => Number(minibatch))],
    y: places.map(([, error]) => error + moved),
  };
}

function ownSeries(places: readonly Place[]): Series {
  const band = (sign: number) =>
    places.map(({ mean, deviation }) => within(mean + sign * (deviation || 0)));
  return {
    name: "this experiment",
    x: [places.map(({ minibatch }) => minibatch)],
    y: places.map(({ mean }) => mean),
    low: band(-1),
    high: band(1),
  };
}

/** The error against the minibatch, mean ± deviation over the seeds; its axes are as long as the paper's. */
export function figure1Chart(runs: Runs, setting: Setting): Chart {
  const places = figureMinibatches(setting).flatMap((minibatch) => {
    const sample = runs.sample(pointId(minibatch));
    return sample ? [{ minibatch, ...sample }] : [];
  });
  const at = runs.sample(pointId(baseline))?.mean;
  const series = [
    ...(places.length > 0 ? [ownSeries(places)] : []),
    ...(at === undefined ? [] : [paperSeries(at)]),
  ];
  const lowest = Math.min(...series.flatMap(({ y, low = [] }) => [...y, ...low]).filter(finite));
  const min = Math.min(100 - span, Math.max(0, 5 * Math.floor((lowest || 0) / 5)));
  const beyond = places.filter(({ mean }) => mean > min + span);
  const all = series.flatMap(({ x }) => x[0]!);
  return {
    title: "Error against minibatch",
    note:
      "Mean over the seeds; the bars are ± a standard deviation. The paper's line, of ResNet-50 on ImageNet, is moved " +
      `to the same error at kn = ${baseline}.`,
    x: [minibatchAxis(all)],
    y: { name: "top-1 validation error (%)", min, max: min + span },
    series,
    marks: beyond.map(({ minibatch, mean }) => ({
      x: [minibatch],
      label: `${formats.minibatch(minibatch)}: ${mean.toFixed(1)} %`,
    })),
  };
}

/** Logarithmic, from the smallest minibatch to the largest. */
function minibatchAxis(minibatches: readonly number[]): Axis {
  const [min, max] = [Math.min(...minibatches), Math.max(...minibatches)];
  const ends = min < max ? { min, max } : {};
  return { name: "minibatch (images)", scale: "log", base: 2, format: "minibatch", ...ends };
}

/** Means over runs, epoch by epoch, as far as all of them came. */
function curve(
  runs: readonly RunRecord[],
  kind: "train" | "test",
): Pick<Series, "x" | "y" | "low" | "high"> {
  const length = Math.min(...runs.map(({ epochs }) => epochs.length));
  const samples = Array.from({ length: Number.isFinite(length) ? length : 0 }, (_, i) =>
    sampleOf(runs.flatMap(({ epochs }) => epochs[i]![kind] ?? [])),
  );
  const at = (sign: number) =>
    samples.map(({ mean, deviation }) =>
      Number.isNaN(mean) ? null : within(mean + sign * (deviation || 0)),
    );
  return { x: [samples.map((_, i) => i + 1)], y: at(0), low: at(-1), high: at(1) };
}

/** The finished runs of a point: one that diverged has no curve. */
const finished = (runs: Runs, id: string) =>
  runs.of(id).filter(({ status }) => status === "finished");

/** The curves of some points, in the colors that they have in every chart. */
function curves(
  runs: Runs,
  setting: Setting,
  ids: readonly string[],
  kinds: readonly ("train" | "test")[],
  groups = warmupIds(setting),
): Pick<Chart, "series" | "groups"> {
  const labels = new Map(pointsOf("paper", setting).map(({ id, label }) => [id, label]));
  const series = ids.flatMap((id) => {
    const ended = finished(runs, id);
    const group = labels.get(id) ?? id;
    return ended.length === 0
      ? []
      : kinds.map((kind) => ({ name: kindNames[kind], group, ...curve(ended, kind) }));
  });
  return { series, groups: groups.map((id) => labels.get(id) ?? id) };
}

const kindNames = { train: "training", test: "validation" };

/** The baseline, and the warm-ups at the large minibatch; the gradual one first, which Figure 3 shows too. */
const warmupIds = ({ large }: Setting) => [
  pointId(baseline),
  ...(["gradual", "none", "constant"] as const).map((warmup) => pointId(large, warmup)),
];

const epochAxis = ({ epochs }: Setting): Axis => ({ name: "epochs", min: 0, max: epochs });
const curveNote = "Mean ± standard deviation over the seeds; runs that diverged are left out.";

/** Training curves by warm-up at the large minibatch, as the paper's Figure 2. */
export function warmupChart(runs: Runs, setting: Setting): Chart {
  return {
    title: `Warm-ups at kn = ${count(setting.large)}, as the paper's Figure 2`,
    note: curveNote,
    x: [epochAxis(setting)],
    y: { name: "training error (%)" },
    ...curves(runs, setting, warmupIds(setting), ["train"]),
  };
}

/** Training curves by the rule of the rate at the large minibatch, whose linear one is that of the other charts. */
export function ruleChart(runs: Runs, setting: Setting): Chart {
  const { large } = setting;
  const ids = [pointId(baseline), pointId(large)];
  ids.push(variantId(large, "root"), variantId(large, "unscaled"));
  return {
    title: `Rules of the rate at kn = ${count(large)}`,
    note: curveNote,
    x: [epochAxis(setting)],
    y: { name: "training error (%)" },
    ...curves(runs, setting, ids, ["train"], ids),
  };
}

/** Training and validation error of the baseline and the large minibatch. */
export function figure3Chart(runs: Runs, setting: Setting): Chart {
  return {
    title: `Training curves of kn = ${baseline} and ${count(setting.large)}`,
    note: curveNote,
    x: [epochAxis(setting)],
    y: { name: "top-1 error (%)" },
    ...curves(runs, setting, [pointId(baseline), pointId(setting.large)], ["train", "test"]),
  };
}

/** For each remark how far the losses of the right and the wrong way are from those of one worker. */
export function remarkCharts(runs: Runs): Chart[] {
  const lossesOf = (run: (typeof remarks)[number]["right"]) => runs.of(remarkId(run))[0]?.losses;
  const reference = lossesOf("reference");
  if (!reference) return [];
  return remarks.map(({ title, source, right, rightWay, wrong, wrongWay }) => {
    const series = (
      [
        [right, rightWay],
        [wrong, wrongWay],
      ] as const
    ).flatMap(([run, name]) => {
      const losses = lossesOf(run);
      if (!losses) return [];
      const far = deviations(losses, reference);
      return [{ name, x: [far.map((_, step) => step)], y: far }];
    });
    return {
      title: `${title} (${source})`,
      x: [{ name: "step", min: 0 }],
      y: { name: "deviation of the loss", scale: "log" as const, ...powersAround(series) },
      series,
    };
  });
}

/** The powers of ten around all values that a logarithmic axis can show. */
function powersAround(series: readonly Series[]): Pick<Axis, "min" | "max"> {
  const powers = series
    .flatMap(({ y }) => y)
    .filter(finite)
    .filter((value) => value > 0)
    .map(Math.log10);
  if (powers.length === 0) return {};
  const first = Math.floor(Math.min(...powers));
  const many = Math.max(1, Math.ceil(Math.max(...powers)) - first);
  // A whole number of the steps between labels.
  const step = Math.max(1, Math.round(many / 5));
  return { min: 10 ** first, max: 10 ** (first + step * Math.ceil(many / step)) };
}
