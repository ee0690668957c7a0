// The charts of a report: what runs logged, against epochs, images and time.

import type { Chart, Level, Series } from "./chart.js";
import type { Place, RunData } from "./run-data.js";
import { thin } from "./thin.js";

const axes: Chart["x"] = [
  { name: "epochs", min: 0 },
  { name: "images", min: 0 },
  { name: "training time (min)", min: 0 },
];

const xOf = (places: readonly Place[]) => [
  places.map(({ epochs }) => epochs),
  places.map(({ images }) => images),
  places.map(({ seconds }) => seconds / 60),
];

/** A series of each run; a run without any value has none. */
function seriesOf<T extends Place>(
  runs: readonly RunData[],
  places: (run: RunData) => readonly T[],
  value: (place: T) => number | null | undefined,
  rest: Pick<Series, "name" | "smooth">,
): Series[] {
  return runs.flatMap((run) => {
    const { x, y, low, high } = thin(xOf(places(run)), places(run).map(value));
    if (y.every((one) => one === null)) return [];
    const isThinned = y.length < places(run).length;
    return [{ ...rest, group: run.name, x, y, ...(isThinned ? { low, high } : {}) }];
  });
}

const steps = (run: RunData) => run.steps;
const epochs = (run: RunData) => run.epochs;
const fields = (line: object) => line as Record<string, number | undefined>;

/** The error in % that the paper reports for a run's minibatch; undefined for any other run. */
export function paperError({ recipe, epochs, minibatch }: RunData): number | undefined {
  const isSame =
    recipe.model === "resnet50" && recipe.epochs === 90 && epochs.at(-1)?.testImages === 50_000;
  return isSame ? { 256: 23.6, 8192: 23.74 }[minibatch] : undefined;
}

function levelsOf(runs: readonly RunData[]): Level[] {
  const errors = new Map(runs.map((run) => [paperError(run), run.minibatch]));
  return [...errors].flatMap(([y, kn]) =>
    y === undefined ? [] : [{ y, label: `the paper, kn = ${kn}: ${y.toFixed(2)} %` }],
  );
}

const parts = [
  ["compute", "compute"],
  ["exposedCommunication", "exposed communication"],
  ["inputWait", "input wait"],
  ["update", "update"],
] as const;

/** Of the steps that were measured in parts, how long each part took. */
function splitChart(run: RunData, isOnly: boolean): Chart[] {
  const measured = run.steps.filter((line) => fields(line).compute !== undefined);
  if (measured.length === 0) return [];
  return [
    {
      title: isOnly ? "Parts of a step" : `Parts of a step: ${run.name}`,
      x: axes,
      y: { name: "time of a step", format: "seconds", min: 0 },
      series: parts.map(([field, name]) => {
        const { x, y } = thin(
          xOf(measured),
          measured.map((line) => fields(line)[field]),
        );
        return { name, group: run.name, kind: "area", x, y };
      }),
    },
  ];
}

/** The charts that have something to show. */
export function runCharts(runs: readonly RunData[]): Chart[] {
  const levels = levelsOf(runs);
  const marks = runs.flatMap((run) =>
    run.restarts.map((restart) => ({
      x: xOf([restart]).map(([at]) => at!),
      label: "restart",
      group: run.name,
    })),
  );
  const charts: Chart[] = [
    {
      title: "Error",
      x: axes,
      y: { name: "top-1 error (%)", scale: "switch" },
      series: [
        ...seriesOf(runs, epochs, ({ top1 }) => 100 * (1 - top1), { name: "test" }),
        ...seriesOf(
          runs,
          epochs,
          (line) => {
            const { trainTop1 } = fields(line);
            return trainTop1 === undefined ? undefined : 100 * (1 - trainTop1);
          },
          { name: "train" },
        ),
      ],
      levels,
    },
    {
      title: "Loss",
      x: axes,
      y: { name: "loss", scale: "switch" },
      series: [
        ...seriesOf(runs, steps, ({ loss }) => loss, { name: "train, each step", smooth: true }),
        ...seriesOf(runs, epochs, ({ testLoss }) => testLoss, { name: "test" }),
      ],
    },
    {
      title: "Learning rate",
      x: axes,
      y: { name: "learning rate", scale: "switch" },
      series: seriesOf(runs, steps, ({ lr }) => lr, { name: "learning rate" }),
    },
    {
      title: "Throughput",
      x: axes,
      y: { name: "images/s", min: 0 },
      series: seriesOf(runs, steps, ({ imagesPerSecond }) => imagesPerSecond, {
        name: "throughput",
        smooth: true,
      }),
    },
  ];
  return [...charts, ...runs.flatMap((run) => splitChart(run, runs.length === 1))]
    .filter(({ series }) => series.length > 0)
    .map((chart) => ({ ...chart, marks }));
}
