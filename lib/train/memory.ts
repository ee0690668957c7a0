// Checks that a run fits into its device's memory, and finds the largest batch that does.

import type { Executor, NativeCommunicator } from "../device/device.js";
import { NativeError, OnehourError } from "../errors.js";
import type { CompiledModel } from "../graph/compile.js";
import { titleOf } from "../modules/pinned.js";
import { nameOf, setting } from "../recipe/voice.js";
import { bytesText } from "../text/words.js";
import type { RunOptions } from "./prepare.js";

type Run = Pick<RunOptions, "recipe" | "device" | "world">;
type Arenas = CompiledModel["memory"]["arenas"];

const sum = (arenas: Arenas) => Object.values(arenas).reduce((total, bytes) => total + bytes, 0);

/** The largest batch whose plan fits: activations and images grow with it, the rest stays. */
export function largestBatch(arenas: Arenas, batch: number, available: number): number {
  const { temp = 0, input = 0, ...fixed } = arenas;
  return Math.max(0, Math.floor(((available - sum(fixed)) / (temp + input)) * batch));
}

const need = ({ model, batch }: Run["recipe"], arenas: Arenas) =>
  `${titleOf(model)} with ${setting("batch", batch)} needs ${bytesText(sum(arenas))} a worker`;

const advise = (largest: number, most: string) =>
  largest >= 1
    ? `${most} ${setting("batch", largest)} fits, and ${nameOf("accumulate")} makes up for it`
    : "try a smaller model";

/** Bytes for a worker's plan, and in words whose they are. */
function roomFor({ device, world }: Run): { bytes: number; words: string } {
  const { name, kind, memoryBytes } = device.properties;
  if (kind === "cpu") {
    const bytes = memoryBytes / world.localWorldSize;
    return { bytes, words: `${name} has ${bytesText(bytes)} for each` };
  }
  const bytes = Math.min(memoryBytes, device.availableBytes ?? memoryBytes);
  return {
    bytes,
    words: `${name} has ${bytesText(bytes)} free of ${bytesText(memoryBytes)}`,
  };
}

/** Refuses a plan larger than the memory that the device has for it, with the batch that fits. */
export function requireMemory(run: Run, { memory: { arenas } }: CompiledModel): void {
  const { bytes, words } = roomFor(run);
  if (sum(arenas) <= bytes) return;
  const advice = advise(largestBatch(arenas, run.recipe.batch, bytes), "about");
  throw new OnehourError(
    "ERR_ONEHOUR_MEMORY",
    `${need(run.recipe, arenas)}, but ${words}; ${advice}`,
  );
}

/**
 * Loads a run's programs. Where memory runs out all the same, for the kernels' workspace or because another
 * process took it, the error names the plan's figure and the largest batch that fits.
 */
export async function loadPrograms(
  { recipe, device }: Pick<Run, "recipe" | "device">,
  { programs, memory: { arenas } }: CompiledModel,
  communicators: Record<string, NativeCommunicator>,
): Promise<Executor> {
  try {
    return await device.load(programs, { communicators });
  } catch (error) {
    if (!(error instanceof NativeError) || error.code !== "ERR_MEMORY") throw error;
    const available = device.availableBytes ?? device.properties.memoryBytes;
    const largest = Math.min(largestBatch(arenas, recipe.batch, available), recipe.batch - 1);
    const [failed] = error.message.split("; try "); // the batch that fits is better advice
    throw new OnehourError(
      "ERR_ONEHOUR_MEMORY",
      `${need(recipe, arenas)} and what its kernels work in; ${advise(largest, "at most")}: ${failed}`,
      { cause: error },
    );
  }
}
