// The charts of a report: what runs logged, against epochs, images and time.

import type { Axis, Chart, Level, Series } from "./chart.js";
import type { Place, RunData } from "./run-data.js";
import { thin } from "./thin.js";

interface PlaceAxis {
  axis: Axis;
  of: (place: Place) => number | undefined;
}

const allAxes: readonly PlaceAxis[] = [
  { axis: { name: "epochs", min: 0 }, of: ({ epochs }) => epochs },
  { axis: { name: "images", min: 0 }, of: ({ images }) => images },
  { axis: { name: "training time (min)", min: 0 }, of: ({ seconds }) => seconds / 60 },
];

/** The axes on which all runs have places. */
const axesOf = (runs: readonly RunData[]) =>
  allAxes.filter(({ of }) =>
    runs.every(({ steps: [step], epochs: [epoch] }) =>
      [step, epoch].every((place) => place === undefined || of(place) !== undefined),
    ),
  );

const placesOn = (axes: readonly PlaceAxis[]) =>
  axes.map(
    ({ of }) =>
      (place: Place) =>
        of(place)!,
  );

/** A series of each run; a run without any value has none. */
function seriesOf<T extends Place>(
  runs: readonly RunData[],
  places: (run: RunData) => readonly T[],
  value: (place: T) => number | null | undefined,
  rest: Pick<Series, "name" | "smooth">,
): Series[] {
  const axes = placesOn(axesOf(runs));
  return runs.flatMap((run) => {
    const { x, y, low, high } = thin(places(run), axes, value);
    if (y.every((one) => one === null)) return [];
    const isThinned = y.length < places(run).length;
    return [{ ...rest, group: run.name, x, y, ...(isThinned ? { low, high } : {}) }];
  });
}

const steps = (run: RunData) => run.steps;
const epochs = (run: RunData) => run.epochs;

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
function splitChart(run: RunData, axes: readonly PlaceAxis[], isOnly: boolean): Chart[] {
  const measured = run.steps.filter((line) => line.compute !== undefined);
  if (measured.length < 2) return []; // an area needs two
  return [
    {
      title: isOnly ? "Parts of a step" : `Parts of a step: ${run.name}`,
      x: axes.map(({ axis }) => axis),
      y: { name: "time of a step", format: "seconds", min: 0 },
      series: parts.map(([field, name]) => {
        const { x, y } = thin(measured, placesOn(axes), (line) => line[field]);
        return { name, group: run.name, kind: "area", x, y };
      }),
    },
  ];
}

/** The name of what the moving average of the weights reaches. */
const averaged = { name: "test, moving average" };

const percentWrong = (top1: number | null | undefined) =>
  typeof top1 === "number" ? 100 * (1 - top1) : undefined;

export const noiseTitle = "Gradient noise scale";

/** The charts that have something to show. */
export function runCharts(runs: readonly RunData[]): Chart[] {
  const levels = levelsOf(runs);
  const axes = axesOf(runs);
  const x = axes.map(({ axis }) => axis);
  const marks = runs.flatMap((run) =>
    run.restarts.map((restart) => ({
      x: placesOn(axes).map((of) => of(restart)),
      label: "restart",
      group: run.name,
    })),
  );
  const charts: Chart[] = [
    {
      title: "Error",
      x,
      y: { name: "top-1 error (%)", scale: "switch" },
      series: [
        ...seriesOf(runs, epochs, ({ top1 }) => percentWrong(top1), { name: "test" }),
        ...seriesOf(runs, epochs, ({ trainTop1 }) => percentWrong(trainTop1), { name: "train" }),
        ...seriesOf(runs, epochs, ({ emaTop1 }) => percentWrong(emaTop1), averaged),
      ],
      levels,
    },
    {
      title: "Loss",
      x,
      y: { name: "loss", scale: "switch" },
      series: [
        ...seriesOf(runs, steps, ({ loss }) => loss, { name: "train, each step", smooth: true }),
        ...seriesOf(runs, epochs, ({ testLoss }) => testLoss, { name: "test" }),
        ...seriesOf(runs, epochs, ({ emaTestLoss }) => emaTestLoss, averaged),
      ],
    },
    {
      title: "Learning rate",
      x,
      y: { name: "learning rate", scale: "switch" },
      series: seriesOf(runs, steps, ({ lr }) => lr, { name: "learning rate" }),
    },
    {
      title: "Throughput",
      x,
      y: { name: "images/s", min: 0 },
      series: seriesOf(runs, steps, ({ imagesPerSecond }) => imagesPerSecond, {
        name: "throughput",
        smooth: true,
      }),
    },
    {
      title: noiseTitle,
      x,
      y: { name: "images", scale: "switch" },
      series: seriesOf(runs, steps, ({ noiseScale }) => noiseScale, { name: "noise scale" }),
    },
  ];
  // A run has one color in all of them, also where another has nothing to show.
  const groups = runs.map(({ name }) => name);
  const common = charts.map((chart) => ({ ...chart, groups }));
  return [...common, ...runs.flatMap((run) => splitChart(run, axes, runs.length === 1))]
    .filter(({ series }) => series.length > 0)
    .map((chart) => ({
      ...chart,
      marks: marks.filter(({ group }) => chart.series.some((series) => series.group === group)),
    }));
}
