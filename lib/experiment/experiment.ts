// `experiment(name)`: runs an experiment, or goes on with it, and writes what came out.
import { join } from "node:path";
import { canonicalName, openDataset } from "../data/datasets.js";
import { usableCores } from "../device/cores.js";
import { ownProcessors } from "../device/numa.js";
import { expectDevice } from "../device/open.js";
import { UsageError } from "../errors.js";
import { openModel } from "../models/models.js";
import { titleOf } from "../modules/pinned.js";
import { readEnvironment } from "../ranks/environment.js";
import { withDefaults } from "../recipe/fields.js";
import { pinModules } from "../recipe/modules.js";
import { requireOptions } from "../recipe/options.js";
import { requirePossible } from "../recipe/recipe.js";
import { optionName } from "../recipe/voice.js";
import { replaceFile } from "../run-folder/files.js";
import { RunLock } from "../run-folder/lock.js";
import { makeFolder } from "../run-folder/run-folder.js";
import { environment } from "../system/environment.js";
import { timeLeft } from "../terminal/durations.js";
import { count, counted } from "../text/words.js";
import { type Part, partsOf, Runs, verdictsOf } from "./claims.js";
import { experimentCommand } from "./command.js";
import { conduct, type SoFar, type Standing } from "./conduct.js";
import { claimFolder, requireOwnFolder, resultNames } from "./folder.js";
import { experimentMarkdown } from "./markdown.js";
import {
  type ExperimentInput,
  type ExperimentSettings,
  experimentTable,
  readExperiment,
} from "./options.js";
import { figureMinibatches, pointsOf } from "./points.js";
import { type RunRecord, runsName } from "./records.js";
import { experimentPage, picturesOf } from "./report.js";
import type { ExperimentResult } from "./result.js";
import { tasksOf } from "./schedule.js";
import { baseline, remarkSetting } from "./setting.js";

export interface ExperimentOptions extends ExperimentInput {
  /** Called some times a second while runs go on. */
  onStanding?: (standing: Standing) => void;
  /** Called when a run has ended, or was stopped. */
  onRecord?: (record: RunRecord, standing: Standing) => void;
  /** Called with what the user should know. */
  say?: (text: string) => void;
}

/** With absolute paths, and digests of modules: what changes there makes another experiment. */
function withFullNames(settings: ExperimentSettings): ExperimentSettings {
  const { dataset: name, model: network } = settings.setting;
  const { dataset, model } = pinModules({ dataset: name, model: network });
  return { ...settings, setting: { ...settings.setting, dataset: canonicalName(dataset), model } };
}

/** Refuses the ranks of a launcher: each of them would conduct the same runs. */
function requireOneProcess(): void {
  const { worldSize } = readEnvironment();
  if (worldSize === 1) return;
  throw new UsageError(
    "ERR_ONEHOUR_USAGE",
    `an experiment starts its runs by itself, and a launcher has started ${worldSize} processes that ask for it; start one`,
  );
}

const withLarge: readonly Part[] = ["table1", "figure3", "table2"];

/** What the data set says, before anything is started. */
async function surveyed(settings: ExperimentSettings, say: (text: string) => void) {
  const { setting, out, name } = settings;
  await openModel(setting.model);
  for (const { recipe } of pointsOf(name, setting)) {
    const partial = withDefaults(recipe);
    requirePossible(partial, { device: expectDevice(partial.device) });
  }
  const data = await openDataset(setting.dataset, {
    indexFolder: join(out, runsName, ".indexes"), // where the runs look for it
    warn: say,
  });
  const { classes } = data;
  const images = data.train.length;
  data[Symbol.dispose]?.();
  const parts = partsOf(name);
  const wanted = [
    ...(parts.includes("figure1") ? figureMinibatches(setting) : []),
    ...(parts.some((part) => withLarge.includes(part)) ? [setting.large] : []),
  ];
  const least = parts.includes("remarks") ? remarkSetting.minibatch : baseline;
  if (least > images)
    throw new UsageError(
      "ERR_ONEHOUR_USAGE",
      `${name} needs ${count(least)} training images or more, a minibatch that it always has; ${titleOf(setting.dataset)} has ` +
        `${count(images)}`,
    );
  const most = Math.max(least, ...wanted);
  const named = [
    ...(parts.includes("figure1") ? [optionName("minibatches")] : []),
    ...(parts.some((part) => withLarge.includes(part)) ? [optionName("large")] : []),
  ];
  if (most > images)
    throw new UsageError(
      "ERR_ONEHOUR_USAGE",
      `a minibatch of ${count(most)} is more than the ${count(images)} training images of ${titleOf(setting.dataset)}; name ` +
        `smaller ones with ${named.join(" and ")}`,
    );
  return { images, classes };
}

/** What is to come. */
function beginText({ done, runs }: Standing, { budget, out }: ExperimentSettings, jobs: number) {
  const ended = done > 0 ? `, of which ${done} ${done === 1 ? "has" : "have"} ended` : "";
  const limit = Number.isFinite(budget) ? `, within ${timeLeft(budget)} in all` : "";
  const together = Math.min(jobs, runs - done);
  return `${counted(runs, "run")}${ended}; ${together} side by side${limit}; see ${join(out, resultNames.page)}`;
}

type Known = Pick<ExperimentResult, "device" | "jobs" | "images" | "classes">;

function resultOf(
  settings: ExperimentSettings,
  known: Known,
  { records, ...course }: SoFar & Pick<ExperimentResult, "status" | "signal">,
): ExperimentResult {
  const { name, setting, seeds, firstSeed } = settings;
  const runs = new Runs(records);
  return {
    type: "onehour-experiment-result",
    ...{ name, out: settings.out, command: experimentCommand(settings) },
    ...{ setting, seeds, firstSeed, ...known, ...course },
    runs: records,
    verdicts: Object.fromEntries(
      partsOf(name).map((part) => [part, verdictsOf(part, runs, setting, known.images)]),
    ),
    environment: environment(),
  };
}

async function write(out: string, result: ExperimentResult): Promise<void> {
  const files = {
    [resultNames.json]: `${JSON.stringify(result)}\n`,
    [resultNames.markdown]: experimentMarkdown(result),
    [resultNames.page]: experimentPage(result),
    ...picturesOf(result),
  };
  for (const [name, text] of Object.entries(files)) await replaceFile(out, name, text);
}

/**
 * Runs an experiment of Goyal et al. 2017 at a small scale: its runs side by side, as many as the budget has room for,
 * each in a run folder of its own. What an earlier process left of it counts, or goes on. Writes a page, pictures,
 * Markdown and JSON into the experiment's folder after each run and at the end.
 *
 * Resolves at the end, when the budget is spent, or after a signal. A run that diverges is a result; one that fails
 * otherwise is named and left out.
 * @throws OnehourError ERR_ONEHOUR_USAGE for options that cannot be meant and in the ranks of a launcher,
 *   ERR_ONEHOUR_RUN_FOLDER for the folder of another experiment or with files that it would write over, and the first
 *   cause where no run gets on.
 */
export async function experiment(
  name: string,
  options: ExperimentOptions = {},
): Promise<ExperimentResult> {
  const { onStanding = () => {}, onRecord = () => {}, say = () => {}, ...input } = options;
  requireOptions(options, "experiment", [
    ...Object.keys(experimentTable),
    ...["onStanding", "onRecord", "say"],
  ]);
  requireOneProcess();
  const settings = withFullNames(readExperiment(name, input));
  const { setting, seeds, firstSeed, out } = settings;
  const device = settings.name === "remarks" ? "cpu" : expectDevice("auto").kind;
  await requireOwnFolder(settings, device); // before the data set writes an index there
  const survey = await surveyed(settings, say);
  const isCpu = device === "cpu";
  const tasks = tasksOf(pointsOf(settings.name, setting), seeds, firstSeed);
  const asked = settings.jobs ?? (isCpu ? usableCores() : 1);
  const jobs = Math.min(asked, tasks.length);
  const threads = isCpu ? Math.max(1, Math.floor(usableCores() / jobs)) : undefined;
  const processors = ownProcessors();
  // Under a quota of fewer cores than there are processors others may be busy on any of these: Linux chooses.
  const isWhole = processors.length === usableCores();
  const hasRoom = threads !== undefined && isWhole && jobs * threads <= usableCores() && jobs > 1;
  await makeFolder(out);
  const lock = await RunLock.take(out, { seconds: 5, say });
  try {
    await claimFolder(settings, device); // under the lock: another command may begin here just now
    const known = { device, jobs, ...survey };
    const writeSoFar = (soFar: SoFar, status: ExperimentResult["status"] = "running") =>
      write(out, resultOf(settings, known, { ...soFar, status }));
    const ended = await conduct({
      ...{ settings, tasks, threads, onStanding, ...known },
      processors: hasRoom ? processors : undefined,
      onBegin: async (standing, soFar) => {
        await writeSoFar(soFar);
        say(beginText(standing, settings, jobs));
      },
      onRecord: async (record, standing, soFar) => {
        onRecord(record, standing);
        await writeSoFar(soFar);
      },
      onAbort: (soFar) => writeSoFar(soFar, "failed").catch(() => {}), // the cause counts
    });
    const result = resultOf(settings, known, ended);
    await write(out, result);
    return result;
  } finally {
    lock?.release();
  }
}
