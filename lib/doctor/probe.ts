// The process that the doctor asks for what may crash or hang: `probe.js NAME ARGUMENT` sends its parent what it
// found, or what went wrong.
import { randomUUID } from "node:crypto";
import { existsSync, fsyncSync, openSync, statfsSync, unlinkSync, writeSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import type { DeviceListing, LibraryVersion } from "../device/addon.js";
import { call } from "../device/call.js";
import { LoadError, libraryVersions, loadAddon, native } from "../device/native.js";
import { openDevice } from "../device/open.js";
import { completed } from "../system/environment.js";
import type { PairRate } from "./pairs.js";

/** What a module tells that was loaded. */
export interface LoadedModule {
  libraries: Record<string, Partial<LibraryVersion>>;
  gpus: DeviceListing[];
  /** Why no GPU is listed. */
  problem?: string;
}

/** What the probes find. */
export interface Answers {
  /** Loads the module of that name. */
  module: LoadedModule;
  /** Writes to a folder, or to the nearest one above it that is there. */
  folder: {
    folder: string;
    /** What the system says where it cannot be written. */
    problem?: string;
    /** Bytes. */
    free: number;
  };
  /** Whether files of a folder can be locked against another process. */
  locks: boolean;
  /** Rate of matrix products on the device that a run takes, and its own words for that. */
  products: {
    device: string;
    kind: "cpu" | "cuda";
    precision: string;
    rate: number;
    threads: number;
  };
  /** Two ranks of this machine. */
  allReduce: PairRate;
  /** Crops a second, with one thread a core, of images that it makes in a folder. */
  decoding: { images: number; cores: number };
}

const probes: { [N in keyof Answers]: (argument: string) => Promise<Answers[N]> | Answers[N] } = {
  module(name) {
    const libraries = completed(libraryVersions(name));
    if (name !== "cuda") return { libraries, gpus: [] };
    try {
      return { libraries, gpus: call(() => loadAddon(name).listDevices()) };
    } catch (error) {
      return { libraries, gpus: [], problem: (error as Error).message };
    }
  },
  folder(wanted) {
    const folder = nearest(wanted);
    const { bavail, bsize } = statfsSync(folder);
    return { folder, free: bavail * bsize, ...tryToWrite(folder) };
  },
  locks(folder) {
    const states = openUnnamed(folder, 2).map((descriptor) => native.tryLockFile(descriptor));
    return states[0] === "taken" && states[1] === "held";
  },
  async products() {
    const { matrixRate } = await import("../bench/matrix-rate.js");
    using device = openDevice();
    const { kind, name, threads } = device.properties;
    const precision = kind === "cpu" ? "fp32" : "bf16";
    return { device: name, kind, precision, threads, rate: await matrixRate(device, precision) };
  },
  async allReduce() {
    const { measurePair } = await import("./two-ranks.js");
    return await measurePair();
  },
  async decoding(folder) {
    process.env.TMPDIR = folder;
    const { benchLoader } = await import("../bench/loader.js");
    const { settings, results } = await benchLoader({
      images: 16,
      batch: 16,
      rounds: 1,
      batches: 8,
    });
    const { imagesPerSecond } = results.find(({ crop }) => crop === "training")!;
    return { images: imagesPerSecond, cores: settings.cores ?? 1 };
  },
};

function nearest(folder: string): string {
  let place = resolve(folder);
  while (!existsSync(place) && dirname(place) !== place) place = dirname(place);
  return place;
}

/** Opens a new file so many times. It has no name any more, so that nothing is left however this process ends. */
function openUnnamed(folder: string, times: number): number[] {
  const file = join(folder, `.onehour-doctor-${randomUUID()}`);
  const first = openSync(file, "wx");
  try {
    return [first, ...Array.from({ length: times - 1 }, () => openSync(file, "a"))];
  } finally {
    unlinkSync(file);
  }
}

/** Writes a file durably. */
function tryToWrite(folder: string): { problem?: string } {
  try {
    const [descriptor] = openUnnamed(folder, 1);
    writeSync(descriptor!, Buffer.alloc(4096));
    fsyncSync(descriptor!);
    return {};
  } catch (error) {
    return { problem: (error as NodeJS.ErrnoException).code ?? String(error) };
  }
}

const [name, argument] = process.argv.slice(2) as [keyof Answers, string];
process.once("disconnect", () => process.exit(1));
const send = (message: object) =>
  new Promise<void>((resolve) => process.send!(message, () => resolve()));
try {
  await send({ value: await probes[name](argument) });
} catch (error) {
  const message = error instanceof Error ? error.message : String(error);
  await send({ problem: error instanceof LoadError ? error.problem : message });
}
process.exit();
