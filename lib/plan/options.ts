// The options of a plan, a row each: flags of `onehour plan`, and fields of `plan()` in scripts.
import { z } from "zod";
import type { Profile } from "../bench/profile.js";
import { UsageError } from "../errors.js";
import { keyOf, positive, text, whole } from "../recipe/kinds.js";
import { requireOptions } from "../recipe/options.js";
import { type Row, row } from "../recipe/row.js";
import { optionName } from "../recipe/voice.js";
import { mostRanks } from "../system/variables.js";
import { algorithms } from "./algorithms.js";

const powersOfTwo = Array.from({ length: 11 }, (_, i) => 2 ** i);

export const planTable = {
  link: row(text, {
    flag: "--link <bandwidth:latency>",
    help: "between nodes, each way, for example 50Gbit/s:5us",
  }),
  linkInside: row(text.optional(), {
    flag: "--link-inside <bandwidth:latency>",
    help: "between the workers of a node, for example 900Gbit/s:3us",
  }),
  workersPerNode: row(whole(1, mostRanks).optional(), {
    flag: "--workers-per-node <m>",
    help: "workers that share a node and its link",
    otherwise: "8 with --link-inside, or 1",
  }),
  algorithm: row(keyOf(algorithms).default("ring"), {
    flag: "--algorithm",
    help: "of the all-reduce between nodes",
    otherwise: "ring",
  }),
  workers: row(
    z
      .array(whole(1, mostRanks), { error: "expected whole numbers, for example 1,8,64" })
      .min(1, { error: "expected a whole number or more, for example 1,8,64" })
      .default(powersOfTwo),
    {
      flag: "--workers <k,...>",
      help: "numbers of workers to forecast",
      otherwise: "1,2,4,...,1024",
    },
  ),
  accumulate: row(whole(1, 1e6).default(1), {
    flag: "--accumulate <a>",
    help: "micro-batches of a step",
    otherwise: "1",
  }),
  cores: row(positive.optional(), {
    flag: "--cores <c>",
    help: "cores of a node that decode images",
    otherwise: "those of the profile's machine, if it has GPUs",
  }),
  imagesPerCore: row(positive.optional(), {
    flag: "--images-per-core <r>",
    help: "images that one decodes in a second (`onehour bench loader`)",
    otherwise: "the profile's",
  }),
  images: row(whole(1).optional(), {
    flag: "--images <N>",
    help: "images of the training set",
    otherwise: "ImageNet's, for a profile of 224×224×3 pixels",
  }),
  epochs: row(positive.default(90), {
    flag: "--epochs <e>",
    help: "epochs of the training",
    otherwise: "90",
  }),
};

type PlanTable = typeof planTable;
type PlanOptionName = keyof PlanTable;

/** The flags of `onehour plan`. */
export type PlanInput = { [Name in PlanOptionName]?: z.input<PlanTable[Name]["schema"]> };

/** What `plan()` takes: a profile, links, and the other flags of `onehour plan` in camel case. */
export interface PlanOptions extends PlanInput {
  /** As `bench throughput --profile` writes it and `readProfile` reads it. */
  profile: Profile;
  /** Between nodes, as `50Gbit/s:5us`. */
  link: string;
}

/** With the defaults filled in that follow from nothing else. */
export type PlanSettings = { [Name in PlanOptionName]: z.output<PlanTable[Name]["schema"]> };

export const planRows = Object.entries(planTable) as [PlanOptionName, Row][];

/** ERR_ONEHOUR_USAGE that names an option as the user knows it, and what is wrong with it. */
export const refusePlan = (name: PlanOptionName, problem: string) =>
  new UsageError("ERR_ONEHOUR_USAGE", `${optionName(name)}: ${problem}`);

/** The options, each checked by itself, with defaults. Throws ERR_ONEHOUR_USAGE. */
export function readPlanOptions(given: PlanOptions): PlanSettings {
  requireOptions(given, "plan", ["profile", ...Object.keys(planTable)]);
  const settings: Record<string, unknown> = {};
  for (const [name, { schema }] of planRows) {
    const isRequired = name === "link" && given.link === undefined;
    if (isRequired)
      throw refusePlan(name, "describe what joins the workers, for example 50Gbit/s:5us");
    const { success, data, error } = schema.safeParse(given[name]);
    if (!success) throw refusePlan(name, error.issues[0]!.message);
    settings[name] = data;
  }
  return settings as PlanSettings;
}
