// The charts of an experiment, in the paper's own axes.
import type { Axis, Chart, Series } from "../report/chart.js";
import { count } from "../text/words.js";
import type { Runs } from "./claims.js";
import { paperFigure1 } from "./paper.js";
import { figureMinibatches, pointId, remarkId, type Warmup } from "./points.js";
import type { RunRecord } from "./records.js";
import { deviations, remarks } from "./remarks.js";
import { baseline, type Setting } from "./setting.js";
import { sampleOf } from "./verdicts.js";

/** Logarithmic, from the smallest minibatch to the largest. */
function minibatchAxis(minibatches: readonly number[]): Axis {
  const [min, max] = [Math.min(...minibatches), Math.max(...minibatches)];
  const ends = min < max ? { min, max } : {};
  return { name: "minibatch (images)", scale: "log", base: 2, format: "count", ...ends };
}

/** An error that is one: a deviation may reach beyond. */
const within = (error: number) => Math.min(100, Math.max(0, error));

/** The error against the minibatch, mean ± deviation over the seeds. */
export function figure1Chart(runs: Runs, setting: Setting): Chart {
  const places = figureMinibatches(setting).flatMap((minibatch) => {
    const sample = runs.sample(pointId(minibatch));
    return sample ? [{ minibatch, ...sample }] : [];
  });
  const band = (sign: number) =>
    places.map(({ mean, deviation }) => within(mean + sign * (deviation || 0)));
  return {
    title: "Error against minibatch",
    note: "Mean over the seeds; the bars are ± a standard deviation.",
    x: [minibatchAxis(figureMinibatches(setting))],
    y: { name: "top-1 error (%)" },
    series: [
      {
        name: "this experiment",
        x: [places.map(({ minibatch }) => minibatch)],
        y: places.map(({ mean }) => mean),
        low: band(-1),
        high: band(1),
      },
    ],
  };
}

/** The paper's Figure 1. */
export function paperChart(): Chart {
  const places = Object.entries(paperFigure1);
  return {
    title: "The paper's Figure 1",
    note: "ResNet-50 on ImageNet, 90 epochs.",
    x: [minibatchAxis(places.map(([minibatch]) => Number(minibatch)))],
    y: { name: "top-1 error (%)", min: 20 },
    series: [
      {
        name: "Goyal et al. 2017",
        x: [places.map(([minibatch]) => Number(minibatch))],
        y: places.map(([, error]) => error),
      },
    ],
  };
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

function curves(
  runs: Runs,
  points: readonly { id: string; group: string }[],
  kinds: readonly ("train" | "test")[],
): Series[] {
  return points.flatMap(({ id, group }) => {
    const ended = finished(runs, id);
    return ended.length === 0
      ? []
      : kinds.map((kind) => ({ name: kind, group, ...curve(ended, kind) }));
  });
}

const epochAxis = { name: "epochs", min: 0 } as const;

/** Training curves by warm-up at the large minibatch, as the paper's Figure 2. */
export function warmupChart(runs: Runs, { large }: Setting): Chart {
  const at = (warmup: Warmup, group: string) => ({ id: pointId(large, warmup), group });
  return {
    title: `Warm-ups at kn = ${count(large)}`,
    note: "Training error, mean ± standard deviation over the seeds; runs that diverged are left out.",
    x: [epochAxis],
    y: { name: "training error (%)" },
    series: curves(
      runs,
      [
        { id: pointId(baseline), group: `kn = ${baseline}` },
        at("none", "no warm-up"),
        at("constant", "constant"),
        at("gradual", "gradual"),
      ],
      ["train"],
    ),
  };
}

/** Training and test error of the baseline and the large minibatch. */
export function figure3Chart(runs: Runs, { large }: Setting): Chart {
  return {
    title: `Training curves of kn = ${baseline} and ${count(large)}`,
    note: "Mean ± standard deviation over the seeds; runs that diverged are left out.",
    x: [epochAxis],
    y: { name: "error (%)" },
    series: curves(
      runs,
      [baseline, large].map((minibatch) => ({
        id: pointId(minibatch),
        group: `kn = ${count(minibatch)}`,
      })),
      ["train", "test"],
    ),
  };
}

/** For each remark how far the losses of the right and the wrong way are from those of one worker. */
export function remarkCharts(runs: Runs): Chart[] {
  const lossesOf = (run: (typeof remarks)[number]["right"]) => runs.of(remarkId(run))[0]?.losses;
  const reference = lossesOf("reference");
  if (!reference) return [];
  return remarks.map(({ title, source, right, rightWay, wrong, wrongWay }) => ({
    title: `${title} (${source})`,
    x: [{ name: "step", min: 0 }],
    y: { name: "deviation of the loss", scale: "log" as const },
    series: (
      [
        [right, rightWay],
        [wrong, wrongWay],
      ] as const
    ).flatMap(([run, name]) => {
      const losses = lossesOf(run);
      if (!losses) return [];
      const far = deviations(losses, reference);
      return [{ name, x: [far.map((_, step) => step)], y: far }];
    }),
  }));
}
