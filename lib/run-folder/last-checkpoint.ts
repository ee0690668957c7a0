// The last checkpoint of a run folder: saves it, always leaving a whole one, and reads it to go on from.

import { join } from "node:path";
import { OnehourError } from "../errors.js";
import { elements } from "../graph/graph.js";
import { isModule } from "../modules/pinned.js";
import { setting } from "../recipe/voice.js";
import { isAbsent, isForbidden } from "../system/exists.js";
import { commandLine } from "../text/command.js";
import {
  type Checkpoint,
  checkpointName,
  emaPrefix,
  momentumPrefix,
  ownStatistics,
  previousName,
  type RunTensors,
  rankPrefix,
  readCheckpoint,
  type Shapes,
} from "./checkpoint.js";
import { isThere, keepAs, writeAtomically } from "./files.js";
import { requireModelWeights } from "./model-weights.js";
import { refuseFile } from "./refuse-file.js";
import { requireSound } from "./soundness.js";

/** A checkpoint that a run can continue from. */
export type RunState = Checkpoint &
  Required<Pick<Checkpoint, "momentum" | "position" | "recipe" | "data">>;

/** One that was read, and from which file of the run folder. */
type FoundState = RunState & { name: string };

/**
 * Throws unless a run of the model can continue from the file: momentum of every parameter, a position,
 * what it was trained on, the moving average where the run has one, and of each rank that has running statistics
 * of its own all of them.
 */
function requireRun(
  file: string,
  checkpoint: Checkpoint & { shapes: Shapes },
  tensors: RunTensors,
  model: string,
): asserts checkpoint is RunState & { shapes: Shapes } {
  const { shapes, position, ranks = [], isCovered, recipe, data } = checkpoint;
  const missing = tensors.parameters.find(
    ({ name, shape }) => String(shapes.get(momentumPrefix + name)) !== String(shape),
  );
  if (!position || missing) {
    throw refuseFile(
      file,
      "it holds weights but no run to continue",
      `start a new run from it: ${setting("init", file)}`,
    );
  }
  if (!isCovered || !recipe) {
    throw refuseFile(
      file,
      "no checksums cover all that a run continues from (earlier versions wrote none of the header)",
      `start a new run from its weights: ${setting("init", file)}`,
    );
  }
  // Nothing depends on a module's name; the recipe decides whether it may be another.
  const isOwn = typeof recipe.model === "string" && isModule(recipe.model);
  if ((checkpoint.model !== model && !isOwn) || data === undefined) {
    throw refuseFile(
      file,
      data === undefined
        ? "it does not say which data it was trained on"
        : `its model is ${JSON.stringify(checkpoint.model)}, and this run's is "${model}"`,
      `start a new run from its weights: ${setting("init", file)}`,
    );
  }
  const { ema } = tensors;
  const averaged = ema ? [...ema.parameters, ...ema.statistics] : [];
  const lost = averaged.find(
    ({ name, shape }) => String(shapes.get(emaPrefix + name)) !== String(shape),
  );
  if (lost || (ema && !checkpoint.ema)) {
    throw refuseFile(
      file,
      `it has no moving average${lost ? `: no tensor ${emaPrefix}${lost.name} of [${lost.shape}]` : ""}`,
      `start a new run from its weights: ${setting("init", file)}`,
    );
  }
  const own = ownStatistics(tensors);
  for (const [rank, held] of ranks.entries()) {
    const lacking = own.find(({ name, shape }) => held.get(name)?.length !== elements(shape));
    if (!lacking) continue;
    throw refuseFile(
      file,
      `it has no tensor ${rankPrefix(rank)}${lacking.name} of [${lacking.shape}], but others of ` +
        "the ranks' own running statistics",
      `start a new run from it: ${setting("init", file)}`,
    );
  }
}

/** Whether a run folder holds something to continue from. Throws ERR_ONEHOUR_RUN_FOLDER. */
export function hasCheckpoint(folder: string): boolean {
  return [checkpointName, previousName].some((name) => isThere(join(folder, name)));
}

/** Steps of the newest checkpoint that is whole, so that --resume will take it; undefined without one. */
export async function lastWholeStep(folder: string): Promise<number | undefined> {
  for (const name of [checkpointName, previousName]) {
    const found = await readCheckpoint(join(folder, name)).catch(() => undefined);
    if (found?.isCovered && found.position) return found.position.step;
  }
  return undefined;
}

/**
 * The state to continue a run folder from: the last checkpoint, or the one before where the last
 * is torn, which `warn` is called with.
 */
export async function readLastCheckpoint(
  folder: string,
  tensors: RunTensors,
  model: string,
  warn: (text: string) => void,
): Promise<FoundState> {
  const read = async (name: string) => {
    const file = join(folder, name);
    const checkpoint = await readCheckpoint(file);
    const { weights, momentum = [], ranks = [], ema } = checkpoint;
    requireSound(file, weights);
    requireSound(file, momentum, momentumPrefix);
    requireSound(file, ema?.weights ?? [], emaPrefix);
    for (const [rank, own] of ranks.entries()) requireSound(file, own, rankPrefix(rank));
    return { name, file, checkpoint };
  };
  const found = await read(checkpointName).catch(async (error: OnehourError) => {
    if (isForbidden(error.cause)) throw error; // it may well be whole
    const previous = await read(previousName).catch((other: OnehourError) => {
      throw unreadable(folder, error, other);
    });
    warn(`${error.message} Continuing from ${previousName} instead.`);
    return previous;
  });
  const { parameters, statistics } = tensors;
  requireModelWeights(found.file, found.checkpoint, [...parameters, ...statistics], model);
  requireRun(found.file, found.checkpoint, tensors, model);
  return { ...found.checkpoint, model, name: found.name };
}

/** The error for a run folder none of whose checkpoints can be read. */
function unreadable(folder: string, ...errors: OnehourError[]): OnehourError {
  const there = errors.filter((error) => !isAbsent(error.cause ?? error));
  const which = there.length === 1 ? "the only checkpoint" : "neither checkpoint";
  const verb = there.length === 1 ? "cannot" : "can";
  return new OnehourError(
    "ERR_ONEHOUR_CHECKPOINT",
    `${which} of ${folder} ${verb} be read: ${there.map(sentence).join(" ")} Put a whole copy of one ` +
      `there as ${checkpointName}, or begin the run again elsewhere: ` +
      commandLine("train", "--recipe", join(folder, "recipe.json"), "--out", "FOLDER"),
  );
}

const sentence = ({ message }: Error) => (message.endsWith(".") ? message : `${message}.`);

/**
 * Saves a checkpoint; the one before is kept as checkpoint.previous.safetensors, unless `isTorn` says
 * that it is not whole. At every moment at least one complete checkpoint lies in the folder once there
 * was one.
 */
export async function saveCheckpoint(
  folder: string,
  pieces: readonly Uint8Array[],
  isTorn = false,
): Promise<void> {
  await writeAtomically(folder, checkpointName, pieces, async () => {
    if (isTorn || !isThere(join(folder, checkpointName))) return;
    await keepAs(folder, checkpointName, previousName);
  });
}
