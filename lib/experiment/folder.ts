// The folder of an experiment: which experiment it is of, and how much of the budget is spent.
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import type { DeviceProperties } from "../device/device.js";
import { UsageError } from "../errors.js";
import { optionName } from "../recipe/voice.js";
import { isThere, replaceFile } from "../run-folder/files.js";
import { readText } from "../system/regular-file.js";
import { shown } from "../text/words.js";
import { type Part, partsOf } from "./claims.js";
import type { ExperimentSettings } from "./options.js";
import { runsName } from "./records.js";

/** The file with a part's charts. */
export const pictureOf = (part: Part): string => `${part}.svg`;

/** Names of what an experiment writes for people and scripts. */
export const resultNames = { json: "results.json", markdown: "results.md", page: "index.html" };

const definitionName = "experiment.json";
const spentName = "spent.json";

/** What its figures and tables are trained on. */
export type ExperimentDevice = DeviceProperties["kind"];

/**
 * What makes two experiments the same. More seeds, another budget or other jobs continue one: they change no run that
 * is there. A GPU computes in another precision than a CPU.
 */
const definitionOf = (
  { name, firstSeed, setting }: ExperimentSettings,
  device: ExperimentDevice,
) => ({
  type: "onehour-experiment",
  name,
  firstSeed,
  device,
  ...setting,
});

const refuse = (problem: string) => new UsageError("ERR_ONEHOUR_RUN_FOLDER", problem);

async function readJson(file: string, advice: string): Promise<unknown> {
  try {
    return JSON.parse(await readText(file));
  } catch (error) {
    throw refuse(`${file} cannot be read (${(error as Error).message}); ${advice}`);
  }
}

/** What has the name of a file that an experiment writes besides its definition; undefined for nothing. */
async function foreignIn(out: string): Promise<string | undefined> {
  const names = [...Object.values(resultNames), spentName, ...partsOf("paper").map(pictureOf)];
  const file = names.find((name) => isThere(join(out, name)));
  if (file !== undefined) return file;
  const inRuns = await readdir(join(out, runsName)).catch(() => []);
  const run = inRuns.find((name) => name[0] !== "."); // but for the data set's index
  return run && join(runsName, run);
}

/**
 * Refuses the folder of another experiment, and one with files that would be overwritten; writes nothing. Returns
 * whether the experiment's own lies there.
 * @throws UsageError ERR_ONEHOUR_RUN_FOLDER, naming what differs or what lies there.
 */
export async function requireOwnFolder(
  settings: ExperimentSettings,
  device: ExperimentDevice,
): Promise<boolean> {
  const { out } = settings;
  const file = join(out, definitionName);
  const definition: Record<string, unknown> = definitionOf(settings, device);
  // Before the definition is looked for: an experiment that begins here just now writes that first.
  const other = await foreignIn(out);
  if (!isThere(file)) {
    if (isThere(join(out, "recipe.json")))
      throw refuse(`${out} holds a run; name another folder with ${optionName("out")}`);
    if (other !== undefined)
      throw refuse(
        `${out} holds ${other} and no ${definitionName}, so an experiment would take or write over what is not its ` +
          `own; name another folder with ${optionName("out")}`,
      );
    return false;
  }
  const there = await readJson(
    file,
    `put back the one that the experiment wrote, or name another folder with ${optionName("out")}`,
  );
  const kept = (typeof there === "object" && there !== null ? there : {}) as typeof definition;
  const differs = [...new Set([...Object.keys(definition), ...Object.keys(kept)])].find(
    (key) => JSON.stringify(kept[key]) !== JSON.stringify(definition[key]),
  );
  if (differs === undefined) return true;
  throw refuse(
    `${out} holds another experiment: ${differs} is ${shown(kept[differs])} there, and ` +
      `${shown(definition[differs])} was asked for. Leave that as it was, or name another folder with ${optionName("out")}`,
  );
}

/** Says in the folder which experiment it is of, where it does not yet. Throws as `requireOwnFolder` does. */
export async function claimFolder(
  settings: ExperimentSettings,
  device: ExperimentDevice,
): Promise<void> {
  if (await requireOwnFolder(settings, device)) return;
  const { out } = settings;
  const text = JSON.stringify(definitionOf(settings, device), null, 2);
  await replaceFile(out, definitionName, `${text}\n`);
}

const spentSchema = z.looseObject({
  seconds: z.number().min(0),
  processes: z.number().int().min(0),
});

/** What an experiment took so far. */
export interface Spent {
  /** In all its processes together. */
  seconds: number;
  /** Processes that began a run or went on with one: each time that it was ended and started again is one more. */
  processes: number;
}

/** What the experiment took so far; nothing where none is known. */
export async function readSpent(out: string): Promise<Spent> {
  const file = join(out, spentName);
  if (!isThere(file)) return { seconds: 0, processes: 0 };
  const advice = "remove it to begin the budget anew";
  const { success, data } = spentSchema.safeParse(await readJson(file, advice));
  if (success) return data;
  throw refuse(`${file} does not say what is spent; ${advice}`);
}

export async function writeSpent(out: string, { seconds, processes }: Spent): Promise<void> {
  const rounded = { seconds: Number(seconds.toFixed(1)), processes };
  await replaceFile(out, spentName, `${JSON.stringify(rounded)}\n`);
}
