// The GPUs of this machine: which of them can be used, and which one this process takes.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { OnehourError } from "../errors.js";
import { readLocalRank } from "../ranks/environment.js";
import { nameOf, setting } from "../recipe/voice.js";
import { readSetting } from "../system/variables.js";
import { plural } from "../text/words.js";
import type { DeviceListing } from "./addon.js";
import { call } from "./call.js";
import { loadAddon } from "./native.js";

/** What was found without opening a GPU. */
export interface Gpus {
  usable: DeviceListing[];
  /** Why others, or all, cannot be used; empty on a machine that has none. */
  problems: string[];
  /** What kept GPUs from being looked for, or found. */
  error?: OnehourError;
}

/** Whether the machine has an NVIDIA GPU, with a driver or not. */
export function hasGpu(): boolean {
  const devices = "/sys/bus/pci/devices";
  const nvidia = "0x10de";
  const display = /^0x03/;
  try {
    return readdirSync(devices).some((device) => {
      const read = (file: string) => readFileSync(join(devices, device, file), "utf8").trim();
      return read("vendor") === nvidia && display.test(read("class"));
    });
  } catch {
    return false;
  }
}

/** Codes that only mean that there is nothing, unless there is a GPU after all. */
const absent = new Set(["ERR_ONEHOUR_NOT_BUILT", "ERR_DEVICE"]);

/**
 * The MIG instances, parts of GPUs, that CUDA_VISIBLE_DEVICES names, if there are several. CUDA shows
 * a process only the first it finds there, so each worker is shown its own, and ONEHOUR_MIG keeps the
 * list for the processes that this one starts.
 */
function migInstances(): string[] {
  const list = process.env.ONEHOUR_MIG ?? process.env.CUDA_VISIBLE_DEVICES ?? "";
  const names = list.split(",").map((name) => name.trim());
  return names.length > 1 && names.every((name) => name.startsWith("MIG-")) ? names : [];
}

let met: number | undefined;

/** Takes the local rank that this process has in its world, by which it chooses its GPU. */
export function useLocalRank(localRank: number | undefined): void {
  met = localRank;
}

const ownLocalRank = () => met ?? readLocalRank().localRank;

/** The number among `migInstances()` of the one that this process takes, which may not exist. */
function ownInstance(): number {
  return namedGpu() ?? ownLocalRank();
}

function showOwnInstance(): void {
  const instances = migInstances();
  if (instances.length === 0) return;
  process.env.ONEHOUR_MIG = instances.join(",");
  process.env.CUDA_VISIBLE_DEVICES = instances[ownInstance()] ?? instances[0]!;
}

/** Looks for the GPUs that CUDA_VISIBLE_DEVICES leaves; opens none. */
export function findGpus(): Gpus {
  try {
    showOwnInstance();
    const all = call(() => loadAddon("cuda").listDevices());
    return {
      usable: all.filter(({ problem }) => problem === ""),
      problems: all.flatMap(({ ordinal, name, problem }) =>
        problem === "" ? [] : [`GPU ${ordinal} (${name}) ${problem}`],
      ),
    };
  } catch (error) {
    if (!(error instanceof OnehourError)) throw error;
    const expected = absent.has(error.code) && !hasGpu();
    return { usable: [], problems: expected ? [] : [error.message], error };
  }
}

/** The GPU that ONEHOUR_GPU names for this process and all that it starts. */
const namedGpu = () => readSetting("ONEHOUR_GPU");

/**
 * The ordinal of the GPU that this process takes: the one that ONEHOUR_GPU names, else that of its
 * local rank. Throws ERR_ONEHOUR_DEVICE where there are fewer.
 */
export function chooseGpu({ usable, problems }: Gpus): number {
  const instances = migInstances();
  if (instances.length > 0 && usable.length > 0) {
    if (ownInstance() < instances.length) return usable[0]!.ordinal;
    throw new OnehourError(
      "ERR_ONEHOUR_DEVICE",
      `this process takes MIG instance ${ownInstance()}, counted from 0, but CUDA_VISIBLE_DEVICES ` +
        `names ${instances.length}; start at most as many workers, or use the CPU (${setting("device", "cpu")})`,
    );
  }
  const named = namedGpu();
  if (named !== undefined) return named;
  const [localRank, { source }] = [ownLocalRank(), readLocalRank()];
  // Other launchers may show each process a GPU of its own.
  const own = source !== "onehour" && usable.length === 1 ? usable[0] : usable[localRank];
  if (own) return own.ordinal;
  throw new OnehourError(
    "ERR_ONEHOUR_DEVICE",
    `this is worker ${localRank} of its machine, counted from 0, but ${plural(usable.length, "GPU")} ` +
      `can be used here; start at most as many workers, or use the CPU (${setting("device", "cpu")})` +
      problems.map((problem) => `; ${problem}`).join(""),
  );
}

/** Workers for the GPUs of this machine: one each, or one where there is none. */
export function defaultWorkers(): number {
  return namedGpu() === undefined ? Math.max(1, placesFor(findGpus())) : 1;
}

/** Workers that can have a GPU, or a MIG instance, each. */
function placesFor({ usable }: Gpus): number {
  return usable.length > 0 ? migInstances().length || usable.length : 0;
}

/** Throws ERR_ONEHOUR_RECIPE unless each of the workers on this machine can have a GPU. */
export function requireGpus(workers: number): void {
  if (namedGpu() !== undefined) return;
  const gpus = findGpus();
  const { problems } = gpus;
  const places = placesFor(gpus);
  if (workers <= places) return;
  throw new OnehourError(
    "ERR_ONEHOUR_RECIPE",
    `${nameOf("workers")}: ${plural(workers, "worker")} ${workers === 1 ? "takes a GPU" : "take a GPU each"}, but ${plural(places, "GPU")} can be used here; ` +
      `expected at most ${places} (${nameOf("accumulate")} makes up for the minibatch), or ${setting("device", "cpu")}` +
      problems.map((problem) => `; ${problem}`).join(""),
  );
}
