// What a result was measured with: versions, processor, memory and GPUs of this machine, without a name of
// the machine, its user or a folder.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { arch, cpus, release, totalmem, type } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { LibraryVersion } from "../device/addon.js";
import { usableCores } from "../device/cores.js";
import { findGpus } from "../device/gpus.js";
import { libraryVersions } from "../device/native.js";
import { version } from "./version.js";

/** A GPU that the driver or CUDA shows. */
export interface GpuDescription {
  name: string;
  memoryBytes?: number;
  /** Version of the NVIDIA driver, e.g. "570.86.15". */
  driver?: string;
}

/** Plain JSON; what is not there, or cannot be known, is absent. */
export interface MachineEnvironment {
  /** Version of this package. */
  onehour: string;
  /** Of a checkout: the commit that it stands at, 40 hex digits. */
  commit?: string;
  node: string;
  /** e.g. "Debian GNU/Linux 12 (bookworm)" */
  system?: string;
  /** e.g. "Linux 6.1.0 x64" */
  kernel: string;
  processor?: string;
  /** Cores that this process may use, and that the machine has. */
  cores: { usable: number; present: number };
  /** What this process may use of the machine's memory. */
  memoryBytes: number;
  gpus: GpuDescription[];
  /** By library, e.g. "oneDNN": the version built with and the one loaded, as far as each says so. */
  libraries: Record<string, Partial<LibraryVersion>>;
}

const root = fileURLToPath(new URL("../..", import.meta.url));

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

/** What `find` finds; undefined where it fails. */
function attempt<T>(find: () => T): T | undefined {
  try {
    return find();
  } catch {
    return undefined;
  }
}

/** The commit of a checkout, read from Git's files; undefined in an installed package. */
function commitOf(folder: string): string | undefined {
  const git = join(folder, ".git");
  const head = read(join(git, "HEAD"))?.trim();
  const reference = head?.startsWith("ref: ") ? head.slice(5) : undefined;
  const commit =
    reference === undefined
      ? head
      : (read(join(git, reference)) ?? packed(read(join(git, "packed-refs")), reference));
  return /^[0-9a-f]{40}\b/.exec(commit ?? "")?.[0];
}

function packed(references = "", reference: string): string | undefined {
  return references.split("\n").find((line) => line.endsWith(` ${reference}`));
}

function systemName(): string | undefined {
  return /^PRETTY_NAME="?(.*?)"?$/m.exec(read("/etc/os-release") ?? "")?.[1];
}

/** The version of NVIDIA's driver. */
export function driverVersion(): string | undefined {
  return /Module.*?\s(\d+\.[\d.]+)\s/.exec(read("/proc/driver/nvidia/version") ?? "")?.[1];
}

/** Whether CUDA may find a GPU; the second is the driver's device under Windows' Linux. */
const hasDriver = () => existsSync("/proc/driver/nvidia") || existsSync("/dev/dxg");

/** What this process may use of the machine's memory, its control group's limit included, in bytes. */
export const allowedMemory = () =>
  Math.min(process.constrainedMemory() || Number.POSITIVE_INFINITY, totalmem());

/** The names of the GPUs that NVIDIA's driver has. */
function driverGpus(folder = "/proc/driver/nvidia/gpus"): GpuDescription[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder).map((bus) => {
    const name = /^Model:\s*(.+)$/m.exec(read(join(folder, bus, "information")) ?? "")?.[1];
    return { name: name ?? "unknown GPU" };
  });
}

const gpus = () => describeGpus(hasDriver() ? (attempt(findGpus)?.usable ?? []) : []);

/** GPUs that CUDA lists, or those that the driver has. */
export function describeGpus(found: readonly GpuDescription[]): GpuDescription[] {
  const driver = driverVersion();
  const described =
    found.length > 0
      ? found.map(({ name, memoryBytes }) => ({ name, memoryBytes: memoryBytes! }))
      : (attempt(driverGpus) ?? []);
  return described.map((gpu) => ({ ...gpu, ...(driver === undefined ? {} : { driver }) }));
}

/** The file names of the libraries that this process has loaded, as "libjpeg.so.62.3.0". */
export function loadedFiles(maps = read("/proc/self/maps") ?? ""): string[] {
  return [...new Set(maps.match(/\/\S*\.so[\w.]*$/gm)?.map((path) => basename(path)))];
}

/** What a library is called as a file, where it does not tell its version when it is loaded. */
const files: Readonly<Record<string, string>> = {
  "libjpeg-turbo": "libjpeg.so",
  Gloo: "libgloo",
};

/** Fills in what the libraries do not say: the file that was loaded, or that none was. */
export function completed(
  versions: Readonly<Record<string, LibraryVersion>>,
  loaded: readonly string[] = loadedFiles(),
): MachineEnvironment["libraries"] {
  return Object.fromEntries(
    Object.entries(versions).map(([name, { built, loaded: told }]) => {
      const file = files[name] && loaded.find((one) => one.startsWith(files[name]!));
      // A library that is linked into the module is the one that it was built with.
      const version = told || file || (files[name] ? built : "");
      return [name, { ...(built ? { built } : {}), ...(version ? { loaded: version } : {}) }];
    }),
  );
}

function libraries(): MachineEnvironment["libraries"] {
  const modules = ["cpu", ...(hasDriver() ? ["cuda"] : []), "data"];
  const versions = modules.map((name) => attempt(() => libraryVersions(name)) ?? {});
  return completed(Object.assign({}, ...versions));
}

/**
 * Describes the machine and the software that this process runs on. Unless `known` has what they would tell, the
 * native modules that are built here are loaded, that of CUDA only where NVIDIA's driver is; no GPU is opened.
 * Never throws.
 */
export function environment(
  known: Partial<Pick<MachineEnvironment, "gpus" | "libraries">> = {},
): MachineEnvironment {
  const commit = attempt(() => commitOf(root));
  const system = systemName();
  const [processor] = cpus().map(({ model }) => model.trim());
  return {
    onehour: version,
    ...(commit === undefined ? {} : { commit }),
    node: process.version,
    ...(system === undefined ? {} : { system }),
    kernel: `${type()} ${release()} ${arch()}`,
    ...(processor ? { processor } : {}),
    cores: { usable: attempt(usableCores) ?? 1, present: Math.max(1, cpus().length) },
    memoryBytes: allowedMemory(),
    gpus: known.gpus ?? gpus(),
    libraries: known.libraries ?? libraries(),
  };
}
