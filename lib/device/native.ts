// Loads the native modules; no other file does. There is one a backend; the first one loaded serves the
// functions of the whole process.
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import bindings from "bindings";
import { OnehourError } from "../errors.js";
import { filesLimit } from "../system/system-errors.js";
import { commandLine } from "../text/command.js";
import type { Addon, AddonDecoder, DataModule, LibraryVersion } from "./addon.js";
import { call } from "./call.js";

/**
 * Iterations that an idle OpenMP thread spins before it sleeps. Spinning takes the core from
 * another worker on the same machine, sleeping costs a wake-up at the next parallel loop.
 */
const OPENMP_SPIN = 1000;

const root = fileURLToPath(new URL("../..", import.meta.url));
const require = createRequire(import.meta.url);

/** `bindings` with its option `path`, which its types leave out: the file instead of its exports. */
const locate = bindings as unknown as (options: {
  bindings: string;
  module_root: string;
  path: true;
}) => string;

/** The command that builds the native modules, as this installation has it. */
export function buildCommand(): string {
  return existsSync(join(root, "tsconfig.json")) ? "scripts/setup" : commandLine("build");
}

/** What the last attempt to build found missing, with the command that installs it. */
function missingNote(): string {
  try {
    return `. ${readFileSync(join(root, "build", "missing.txt"), "utf8").trim()}`;
  } catch {
    return "";
  }
}

const faults: readonly { pattern: RegExp; explain: (match: RegExpExecArray) => string }[] = [
  { pattern: /too many open files/i, explain: () => `cannot be opened: ${filesLimit()}` },
  {
    pattern: /(lib(?:cudnn|nccl|cublas|nvrtc)[\w.+-]*): cannot open shared object file/,
    explain: (match) =>
      `was built, but the CUDA library ${match[1]} that it needs is not where it was then. Build ` +
      `again, which finds it or says how to get it: ${buildCommand()}`,
  },
  {
    pattern: /(libjpeg[\w.+-]*): cannot open shared object file/,
    explain: (match) =>
      `was built, but the library ${match[1]} that it needs is not here. On Debian and Ubuntu: ` +
      `sudo apt-get install libjpeg-dev; then build again: ${buildCommand()}`,
  },
  {
    pattern: /([\w.+-]+\.so[\w.]*): cannot open shared object file/,
    explain: (match) =>
      `was built, but the library ${match[1]} that it needs is not here. On Debian and Ubuntu: ` +
      `sudo apt-get install libdnnl-dev libgloo-dev; then build again: ${buildCommand()}`,
  },
  {
    pattern: /version `(GLIBC\w*_[\d.]+)' not found/,
    explain: (match) =>
      `was built on a system with a newer C or C++ library (${match[1]}). Build it here: ` +
      buildCommand(),
  },
  {
    pattern: /NODE_MODULE_VERSION|self-register|undefined symbol: (napi|node)_/,
    explain: () =>
      `was built for another Node than ${process.version}. Build it for this one: ${buildCommand()}`,
  },
  {
    pattern: /undefined symbol: (\S+)/,
    explain: (match) =>
      `was built against other versions of its libraries (${match[1]} is gone). Build it again: ` +
      buildCommand(),
  },
  {
    pattern: /ELF|file too short|wrong architecture/i,
    explain: () =>
      `is damaged or was built for another processor. Build it again: ${buildCommand()}`,
  },
];

/** A native module is not there, or does not load; its message names the command that looks at the machine. */
export class LoadError extends OnehourError {
  constructor(
    code: "ERR_ONEHOUR_NOT_BUILT" | "ERR_ONEHOUR_LOAD",
    /** The message without that command, for the command itself. */
    readonly problem: string,
    note = "",
  ) {
    super(code, `${problem}. To see what works here: ${commandLine("doctor")}${note}`);
  }
}

/** The error of a module that was found but does not load. */
export function explainLoadError(name: string, message: string): LoadError {
  for (const { pattern, explain } of faults) {
    const match = pattern.exec(message);
    if (match) return new LoadError("ERR_ONEHOUR_LOAD", `${name} ${explain(match)} (${message})`);
  }
  return new LoadError(
    "ERR_ONEHOUR_LOAD",
    `${name} does not load: ${message}. Build it again: ${buildCommand()}`,
  );
}

/** The file of a backend's module; throws when it was never built. */
function pathOf(backend: string): string {
  return locate({ bindings: `onehour_${backend}`, module_root: root, path: true });
}

/** Whether the module of a backend ("cpu" or "cuda") was built here. */
export function isBuilt(backend: string): boolean {
  try {
    pathOf(backend);
    return true;
  } catch {
    return false;
  }
}

/**
 * Loads the native module `onehour_<name>`. Throws LoadError: ERR_ONEHOUR_NOT_BUILT when there is
 * no such file, ERR_ONEHOUR_LOAD when the file does not load; both name the command to run.
 */
function loadModule<T extends { shutDown(): void }>(name: string): T {
  let path: string;
  try {
    path = pathOf(name);
  } catch {
    throw new LoadError(
      "ERR_ONEHOUR_NOT_BUILT",
      `The native module onehour_${name} was never built here. Build it: ${buildCommand()}`,
      missingNote(),
    );
  }
  let loaded: T;
  try {
    loaded = require(path) as T;
  } catch (error) {
    throw explainLoadError(
      `onehour_${name}`,
      error instanceof Error ? error.message : String(error),
    );
  }
  // process.exit() and uncaught errors skip the cleanup of native modules, and C++ destructors
  // must not run under threads that still compute.
  process.once("exit", () => loaded.shutDown());
  return loaded;
}

const modules = new Map<string, Addon>();

/**
 * Loads the native module of a backend ("cpu" or "cuda").
 * Throws OnehourError: ERR_ONEHOUR_NOT_BUILT or ERR_ONEHOUR_LOAD.
 */
export function loadAddon(backend: string): Addon {
  const known = modules.get(backend);
  if (known) return known;
  // Read by the OpenMP library when it is loaded, so before the module is.
  process.env.OMP_WAIT_POLICY ??= "passive";
  process.env.GOMP_SPINCOUNT ??= String(OPENMP_SPIN);
  process.env.ONEHOUR_BUILD_COMMAND = buildCommand(); // what native messages advise
  const addon = loadModule<Addon>(backend);
  const [first] = modules.values();
  if (first) addon.shareProgress(first.progressCounters());
  else dataModule?.shareProgress(addon.progressCounters());
  modules.set(backend, addon);
  return addon;
}

let dataModule: DataModule | undefined;

function loadDataModule(): DataModule {
  if (dataModule) return dataModule;
  dataModule = loadModule<DataModule>("data");
  const [first] = modules.values();
  if (first) dataModule.shareProgress(first.progressCounters());
  return dataModule;
}

/** Threads that decode images. Throws OnehourError: ERR_ONEHOUR_NOT_BUILT or ERR_ONEHOUR_LOAD. */
export function createDecoder(threads: number): AddonDecoder {
  return new (loadDataModule().Decoder)({ threads });
}

/** The versions of a module's libraries ("cpu", "cuda" or "data"), by name. Throws as `loadAddon`. */
export function libraryVersions(module: string): Record<string, LibraryVersion> {
  return call(() => (module === "data" ? loadDataModule() : loadAddon(module)).libraryVersions());
}

/** The limits of an image, whichever library decodes it. */
export const imageLimits = () => loadDataModule().limits;

/** Backends whose module may serve the process, the first that loads. */
const BACKENDS = ["cpu", "cuda"];

function processAddon(): Addon {
  for (const addon of modules.values()) return addon;
  let failure: unknown;
  for (const backend of BACKENDS) {
    try {
      return loadAddon(backend);
    } catch (error) {
      failure ??= error;
    }
  }
  throw failure;
}

/** Functions of the process, whatever its device. */
export const native = {
  /**
   * A native thread writes a line `{"progress":P,"waiting":W,"running":R,"reading":D}` to `fd` at once and every
   * `intervalMs`, whatever JavaScript does: P counts finished and prepared kernels and ticks, W the
   * waits for peers in progress, R the kernels that run on the CPU and do not wait for peers, D the
   * batches being read. It ends silently when the reader is gone. Once per process.
   */
  startHeartbeat(fd: number, intervalMs: number): void {
    call(() => processAddon().startHeartbeat(fd, intervalMs));
  },
  /**
   * This process is killed when the thread that started it ends. Throws ERR_PARENT if its parent is
   * not `parent` any more; without `parent`, if it has been adopted by process 1.
   */
  dieWithParent(parent?: number): void {
    call(() => processAddon().dieWithParent(parent));
  },
  /**
   * The kernel ends a TCP connection, given by its descriptor, whose peer's machine does not answer for
   * so long; see native/core/liveness.h.
   */
  endWhenSilent(descriptor: number, seconds: number): void {
    call(() => processAddon().endWhenSilent(descriptor, Math.ceil(seconds * 1000)));
  },
  /** Keeps all threads of the process on these processors; false where the system refuses that. */
  bindProcess(processors: number[]): boolean {
    return call(() => processAddon().bindProcess(processors));
  },
  /**
   * Locks an open file until its descriptor is closed, or the process ends in whatever way. "held" is
   * another descriptor's; "unsupported" what the file system cannot do.
   */
  tryLockFile(descriptor: number): "taken" | "held" | "unsupported" {
    return call(() => processAddon().tryLockFile(descriptor));
  },
  /** The counters that the heartbeat writes, now. */
  readProgress(): ReturnType<Addon["readProgress"]> {
    return processAddon().readProgress();
  },
  /** JavaScript's own sign of progress, e.g. a batch read or an image decoded; not counted before a module is loaded. */
  advanceProgress(): void {
    const [first = dataModule] = modules.values();
    first?.advanceProgress();
  },
  /** Counts JavaScript waiting for peers (a rendezvous) as a wait for as long as `wait` takes. */
  async whileWaiting<T>(wait: () => Promise<T>): Promise<T> {
    const addon = processAddon();
    addon.beginWait();
    try {
      return await wait();
    } finally {
      addon.endWait();
    }
  },
  /** Counts as reading a data set for as long as `read` takes: a run whose ranks only read forever hangs. */
  async whileReading(read: () => Promise<void>): Promise<void> {
    const addon = processAddon();
    addon.beginRead();
    try {
      await read();
    } finally {
      addon.endRead();
    }
  },
  /** Parses a program text; throws NativeError with the line if it is malformed. */
  parseProgram(text: string): ReturnType<Addon["parseProgram"]> {
    return call(() => processAddon().parseProgram(text));
  },
};
