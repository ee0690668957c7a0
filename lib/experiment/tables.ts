// The tables of the report on an experiment.
import { titleOf } from "../modules/pinned.js";
import { choosePrecision } from "../recipe/recipe.js";
import { environmentFields } from "../report/environment-fields.js";
import type { Table } from "../report/page.js";
import { timeLeft } from "../terminal/durations.js";
import { count, counted } from "../text/words.js";
import { short } from "../train/step-line.js";
import { asBaseline, type Part, type Runs, trainError } from "./claims.js";
import { paperFigure1, paperLarge, paperTable1, paperTable2 } from "./paper.js";
import {
  figureMinibatches,
  pointId,
  type Variant,
  variantId,
  variants,
  type Warmup,
} from "./points.js";
import type { ExperimentResult } from "./result.js";
import { baseline, batch, type Setting } from "./setting.js";
import type { Sample } from "./verdicts.js";

/** `9.12 ± 0.10`, or without a deviation `9.12`. */
function errorText(sample: Sample | undefined): string | undefined {
  if (!sample) return undefined;
  const { mean, deviation } = sample;
  return `${mean.toFixed(2)}${Number.isNaN(deviation) ? "" : ` ± ${deviation.toFixed(2)}`}`;
}

/** `5`, or with what diverged of them `5, 2 diverged`. */
function runsText(runs: Runs, id: string): string {
  const all = runs.of(id);
  const diverged = all.filter(({ status }) => status === "diverged").length;
  return diverged > 0 ? `${all.length}, ${diverged} diverged` : String(all.length);
}

/** The error by minibatch, and whether each is the baseline's. */
export function figure1Table(runs: Runs, setting: Setting): Table {
  return {
    caption: "Top-1 validation error by minibatch, in %",
    head: ["kn", "seeds", "error", "the paper's", `as kn = ${baseline}?`],
    rows: figureMinibatches(setting).map((minibatch) => {
      const verdict = minibatch === baseline ? undefined : asBaseline(runs, minibatch);
      return [
        count(minibatch),
        runsText(runs, pointId(minibatch)),
        errorText(runs.sample(pointId(minibatch))),
        paperFigure1[minibatch]?.toFixed(2),
        verdict && `${verdict.ruling}: ${verdict.reason}`,
      ];
    }),
  };
}

/** The error by warm-up at the large minibatch. */
export function table1Table(runs: Runs, { large }: Setting): Table {
  const row = (name: string, id: string, paper: keyof typeof paperTable1) => {
    const { error, deviation } = paperTable1[paper];
    return [
      name,
      runsText(runs, id),
      errorText(runs.sample(id)),
      `${error.toFixed(2)} ± ${deviation.toFixed(2)}`,
    ];
  };
  const at = (warmup: Warmup) => pointId(large, warmup);
  return {
    caption: `Top-1 validation error by warm-up at kn = ${count(large)}, in %`,
    head: ["warm-up", "seeds", "error", `the paper's, kn = ${count(paperLarge)}`],
    rows: [
      row(`baseline, kn = ${baseline}`, pointId(baseline), "baseline"),
      row("none", at("none"), "none"),
      row("constant", at("constant"), "constant"),
      row("gradual", at("gradual"), "gradual"),
    ],
  };
}

/** The errors with which the curves of Figure 3 end. */
export function figure3Table(runs: Runs, { large }: Setting): Table {
  const row = (minibatch: number) => {
    const id = pointId(minibatch);
    return [
      count(minibatch),
      runsText(runs, id),
      errorText(runs.sample(id, trainError)),
      errorText(runs.sample(id)),
    ];
  };
  return {
    caption: "Top-1 errors at the end, in %",
    head: ["kn", "seeds", "training, last epoch", "validation"],
    rows: [row(baseline), row(large)],
  };
}

/** The errors by rule of the rate and by γ, at the baseline and at the large minibatch. */
export function table2Table(runs: Runs, { large }: Setting): Table {
  const row = (minibatch: number, name: string, id: string, paper: number) => [
    count(minibatch),
    name,
    runsText(runs, id),
    errorText(runs.sample(id)),
    paper.toFixed(2),
  ];
  const rowsOf = (minibatch: number, { as, ...others }: Record<"as" | Variant, number | null>) => [
    row(minibatch, "linear rule, γ = 0", pointId(minibatch), as!),
    ...(Object.entries(others) as [Variant, number | null][]).flatMap(([variant, paper]) =>
      paper === null
        ? []
        : [row(minibatch, variants[variant].label, variantId(minibatch, variant), paper)],
    ),
  ];
  return {
    caption: "Top-1 validation error by rate and γ, in %",
    head: ["kn", "", "seeds", "error", `the paper's, kn = ${baseline} and ${count(paperLarge)}`],
    rows: [...rowsOf(baseline, paperTable2.baseline), ...rowsOf(large, paperTable2.large)],
  };
}

/** What the runs say of each claim; the claims of some parts have a source of the paper before them. */
export function verdictsTable(
  { verdicts }: ExperimentResult,
  sources: Partial<Record<Part, string>>,
): Table {
  return {
    head: ["claim", "verdict", "why"],
    rows: (Object.keys(verdicts) as Part[]).flatMap((part) =>
      verdicts[part]!.map(({ claim, ruling, reason }) => [
        sources[part] === undefined ? claim : `${sources[part]}: ${claim}`,
        ruling,
        reason,
      ]),
    ),
  };
}

/** `0 to 4`, or where some are missing between them `0, 2`. */
function seedsText({ runs }: ExperimentResult): string {
  const seeds = runs.filter(({ error }) => error !== undefined).map(({ seed }) => seed);
  const all = [...new Set(seeds)].sort((a, b) => a - b);
  const [first, last] = [all[0]!, all.at(-1)!];
  const isRange = all.length > 2 && last - first === all.length - 1;
  return (isRange ? `${first} to ${last}` : all.join(", ")) || "none yet";
}

/** `58 min in 3 processes, each going on from the one before`. */
export function durationText({ seconds, processes }: ExperimentResult): string {
  const duration = timeLeft(seconds);
  return processes < 2
    ? duration
    : `${duration} in ${counted(processes, "process")}, each going on from the one before`;
}

const devices = { cpu: "the CPU", cuda: "a GPU" };

/** What figures and tables have besides data and network, and the remarks have of their own. */
function courseRows({ setting, device }: ExperimentResult): [string, string][] {
  const { epochs, lr, warmupEpochs, milestones } = setting;
  const at = milestones.map(short).join(", ");
  const drops = at === "" ? "none" : `to a tenth at epochs ${at}`;
  return [
    ["length of a run", counted(epochs, "epoch")],
    ["learning rate", `${lr} at ${baseline} images, in proportion to kn`],
    ["warm-up", `over ${counted(Number(short(warmupEpochs)), "epoch")}, where kn > ${baseline}`],
    ["drops of the rate", drops],
    ["batch norm", `over n = ${batch} images at every kn`],
    ["device", `${devices[device]}, ${choosePrecision(undefined, { kind: device })}`],
  ];
}

/** What was trained, by which command, and for how long. */
export function settingTable(result: ExperimentResult): Table {
  const { name, setting, images, classes, command, jobs } = result;
  const { dataset, model, augment } = setting;
  return {
    head: ["", ""],
    rows: [
      ["command", command],
      [
        "data set",
        `${titleOf(dataset)}: ${counted(images, "training image")}, ${counted(classes, "class")}`,
      ],
      ["augmentation", augment ? "yes" : "none"],
      ["network", titleOf(model)],
      ...(name === "remarks" ? [] : courseRows(result)),
      ["seeds", seedsText(result)],
      ["runs side by side", String(jobs)],
      ["it took", durationText(result)],
    ],
  };
}

/** What it ran on. */
export const machineTable = ({ environment }: ExperimentResult): Table => ({
  head: ["", ""],
  rows: Object.entries(environmentFields(environment)),
});

/** Every run that has begun. */
export function runsTable({ runs }: ExperimentResult): Table {
  return {
    caption: "All runs",
    head: ["run", "status", "error (%)", "seconds", "why"],
    rows: runs.map(({ folder, status, error, seconds, reason }) => [
      folder,
      status,
      error?.toFixed(2),
      seconds.toFixed(0),
      reason,
    ]),
    isFolded: true,
  };
}
