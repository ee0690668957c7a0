// A plan as charts by number of workers: images a second against the ideal and seconds of a step, as the paper draws
// them, and the hours of the training.
import type { Chart, Series } from "../report/chart.js";
import { plural } from "../text/words.js";
import { measuredByPaper, paperPlan } from "./paper.js";
import type { Plan, Planned } from "./plan.js";

const x = [{ name: "workers", scale: "log", base: 2, format: "count" }] as const;

/** A figure of each forecast; a gap where it has none. */
function line({ forecasts }: Plan, name: string, y: (step: Planned) => number | undefined): Series {
  return {
    name,
    x: [forecasts.map(({ workers }) => workers)],
    y: forecasts.map((step) => y(step) ?? null),
  };
}

/** A measured step. */
interface Point {
  workers: number;
  seconds: number;
  /** Of the step, of one worker. */
  batch: number;
}

/** What was measured on the profile's machine, and by the paper where it had these images. */
function points(plan: Plan, y: (point: Point) => number): Series[] {
  const { profile, accumulate, paper } = plan;
  const here = profile.measured.map(({ workers, step: seconds }) => ({
    ...{ workers, seconds, batch: profile.batch },
  }));
  const there = measuredByPaper.map((step) => ({ ...step, batch: paperPlan.profile.batch }));
  return (
    [
      ["measured with the profile", accumulate === 1 ? here : []],
      ["the paper's P100s, measured", paper ? there : []],
    ] as const
  )
    .filter(([, all]) => all.length > 0)
    .map(([name, all]) => ({
      name,
      kind: "points",
      x: [all.map(({ workers }) => workers)],
      y: all.map(y),
    }));
}

/** What the input alone would allow, where it holds up a step. */
function inputBound(plan: Plan, y: (step: Planned) => number): Series[] {
  const binds = plan.forecasts.some(({ inputWait }) => inputWait > 0);
  return binds ? [line(plan, "bound of the input", y)] : [];
}

/** The charts of a plan. */
export function planCharts(plan: Plan): Chart[] {
  const { work } = plan;
  const alone = ({ compute, update }: Planned) => compute + update;
  const throughput: Chart = {
    title: "Images a second",
    x,
    y: { name: "images/s", scale: "log" },
    series: [
      { ...line(plan, "ideal", (step) => step.minibatch / alone(step)), look: "reference" },
      line(plan, "forecast", ({ imagesPerSecond }) => imagesPerSecond),
      ...inputBound(plan, ({ minibatch, input }) => minibatch / input),
      ...points(plan, ({ workers, seconds, batch }) => (workers * batch) / seconds),
    ],
  };
  const step: Chart = {
    title: "Seconds of a step",
    x,
    y: { name: "step", format: "seconds", min: 0 },
    series: [
      { ...line(plan, "ideal", alone), look: "reference" },
      line(plan, "forecast", ({ seconds }) => seconds),
      ...inputBound(plan, ({ input }) => input),
      ...points(plan, ({ seconds }) => seconds),
    ],
  };
  const hours: Chart = {
    title: `Hours of ${plural(work?.epochs ?? 0, "epoch")}`,
    x,
    y: { name: "hours", scale: "log" },
    series: [line(plan, "forecast", (planned) => planned.hours)],
    levels: [{ y: 1, label: "one hour" }],
  };
  return work ? [throughput, step, hours] : [throughput, step];
}
