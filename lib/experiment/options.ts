// The options of an experiment, a row each: flags of `onehour experiment`, and fields of `experiment()` in scripts.
import { z } from "zod";
import { UsageError } from "../errors.js";
import { epochList, notNegative, positive, text, whole } from "../recipe/kinds.js";
import { requireOptions } from "../recipe/options.js";
import { type Row, row } from "../recipe/row.js";
import { optionName } from "../recipe/voice.js";
import { shown } from "../text/words.js";
import { type ExperimentName, experiments, hasNoWarmup } from "./points.js";
import { baseline, batch, type Setting, setting } from "./setting.js";

const durationUnits: Record<string, number> = { s: 1, m: 60, h: 3600 };
const duration = /^(\d+(?:\.\d+)?)([smh])$/;

/** Seconds of "60m", "1.5h" or "90s"; infinite for "none". */
const budget = z
  .string({ error: "expected a duration, for example 60m, or none" })
  .transform((value, context) => {
    if (value === "none") return Number.POSITIVE_INFINITY;
    const [, number, unit] = duration.exec(value) ?? [];
    const seconds = Number(number) * durationUnits[unit ?? ""]!;
    if (seconds > 0) return seconds;
    context.addIssue(`expected a duration, for example 60m, or none; got ${shown(value)}`);
    return z.NEVER;
  });

const minibatch = whole(batch).refine((value) => value % batch === 0, {
  error: ({ input }) => `expected multiples of n = ${batch}, got ${shown(input)}`,
});

export const experimentTable = {
  out: row(text.optional(), {
    flag: "--out <folder>",
    help: "where its runs and results are; what is there already is continued",
    otherwise: "experiments/NAME",
  }),
  seeds: row(whole(1, 1000).default(5), {
    flag: "--seeds <s>",
    help: "runs of each point, with different seeds",
    otherwise: "5",
  }),
  budget: row(budget.default(3600), {
    flag: "--budget <time>",
    help: "ends after so long in all, as 60m, 2h or none",
    otherwise: "60m",
  }),
  jobs: row(whole(1, 64).optional(), {
    flag: "--jobs <j>",
    help: "runs side by side",
    otherwise: "one a core, or 1 on a GPU",
  }),
  firstSeed: row(whole(0).default(1), {
    flag: "--first-seed <s>",
    help: "the first seed; choose a setting on seeds that no verdict uses",
    otherwise: "1",
  }),
  dataset: row(text.default(setting.dataset), {
    flag: "--dataset <name|folder>",
    help: "the images, as `onehour train` takes them",
    otherwise: setting.dataset,
  }),
  model: row(text.default(setting.model), {
    flag: "--model <name|file>",
    help: "the network",
    otherwise: setting.model,
  }),
  minibatches: row(
    z
      .array(minibatch, { error: "expected minibatches, for example 64,256,1024" })
      .min(1, { error: "expected a minibatch or more, for example 64,256,1024" })
      .default([...setting.minibatches]),
    {
      flag: "--minibatches <kn,...>",
      help: `of Figure 1, besides the baseline of ${baseline}`,
      otherwise: setting.minibatches.join(","),
    },
  ),
  large: row(
    minibatch
      .refine((value) => !hasNoWarmup(value), {
        error: ({ input }) =>
          `expected more than ${baseline} images, which have a warm-up; got ${input}`,
      })
      .default(setting.large),
    {
      flag: "--large <kn>",
      help: "the large minibatch of Table 1, Figure 3 and Table 2",
      otherwise: String(setting.large),
    },
  ),
  epochs: row(positive.default(setting.epochs), {
    flag: "--epochs <E>",
    help: "epochs of a run",
    otherwise: String(setting.epochs),
  }),
  lr: row(positive.default(setting.lr), {
    flag: "--lr <rate>",
    help: `learning rate at ${baseline} images`,
    otherwise: String(setting.lr),
  }),
  warmupEpochs: row(notNegative.optional(), {
    flag: "--warmup-epochs <E>",
    help: "length of the warm-up",
    otherwise: `${setting.warmupEpochs}, or in proportion to --epochs`,
  }),
  milestones: row(epochList.optional(), {
    flag: "--milestones <E,...|none>",
    help: "epochs from which on the rate is ten times smaller",
    otherwise: `${setting.milestones.join(",")}, or in proportion to --epochs`,
  }),
};

type ExperimentTable = typeof experimentTable;
type OptionName = keyof ExperimentTable;

/** What `experiment()` takes besides a name: the flags of `onehour experiment` in camel case. */
export type ExperimentInput = { [Name in OptionName]?: z.input<ExperimentTable[Name]["schema"]> };

/** With the defaults filled in. */
export interface ExperimentSettings {
  name: ExperimentName;
  out: string;
  seeds: number;
  /** In seconds. */
  budget: number;
  jobs: number | undefined;
  firstSeed: number;
  setting: Setting;
}

export const experimentRows = Object.entries(experimentTable) as [OptionName, Row][];

/** Options that an experiment would take no notice of. */
const unused: Readonly<Record<ExperimentName, readonly OptionName[]>> = {
  figure1: ["large"],
  table1: ["minibatches"],
  figure3: ["minibatches"],
  table2: ["minibatches"],
  remarks: ["seeds", "minibatches", "large", "epochs", "lr", "warmupEpochs", "milestones"],
  paper: [],
};

const refuse = (problem: string) => new UsageError("ERR_ONEHOUR_USAGE", problem);

/** Warm-up and milestones of so many epochs, in the setting's proportion. */
export const scheduleOf = (epochs: number): Pick<Setting, "warmupEpochs" | "milestones"> => ({
  warmupEpochs: (setting.warmupEpochs * epochs) / setting.epochs,
  milestones: setting.milestones.map((at) => (at * epochs) / setting.epochs),
});

/** The name and the options, each checked by itself, with defaults. Throws ERR_ONEHOUR_USAGE. */
export function readExperiment(name: string, given: ExperimentInput): ExperimentSettings {
  if (!Object.hasOwn(experiments, name))
    throw refuse(
      `there is no experiment ${shown(name)}; expected one of ${Object.keys(experiments).join(", ")}`,
    );
  requireOptions(given, "experiment", Object.keys(experimentTable));
  const vain = unused[name as ExperimentName].find((key) => given[key] !== undefined);
  if (vain !== undefined)
    throw refuse(`${optionName(vain)} changes nothing in ${name}; leave it out`);
  const read: Record<string, unknown> = {};
  for (const [key, { schema }] of experimentRows) {
    const { success, data, error } = schema.safeParse(given[key]);
    if (!success) throw refuse(`${optionName(key)}: ${error.issues[0]!.message}`);
    read[key] = data;
  }
  const all = read as { [Name in OptionName]: z.output<ExperimentTable[Name]["schema"]> };
  const { dataset, model, epochs, lr, minibatches, large } = all;
  const usual = scheduleOf(epochs);
  const { milestones = usual.milestones, warmupEpochs = usual.warmupEpochs } = all;
  const late = milestones.find((at) => at >= epochs);
  if (late !== undefined)
    throw refuse(
      `${optionName("milestones")}: ${late} is not before the end of ${epochs} epochs; expected less, or none`,
    );
  return {
    name: name as ExperimentName,
    out: all.out ?? `experiments/${name}`,
    seeds: all.seeds,
    budget: all.budget,
    jobs: all.jobs,
    firstSeed: all.firstSeed,
    setting: {
      ...{ dataset, model, epochs, lr, warmupEpochs },
      milestones: [...milestones].sort((a, b) => a - b),
      minibatches: [...new Set(minibatches)].sort((a, b) => a - b),
      // With crops and flips the chosen setting's runs would need more epochs.
      augment: dataset.split(":")[0] !== setting.dataset,
      large,
    },
  };
}
