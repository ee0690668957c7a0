// Checks the native modules, and the libraries that each was built with against those that it loads.
import { buildCommand } from "../device/native.js";
import { bad, type Check, good, type Line, type ModuleReport, warn } from "./check.js";
import { secondsToLoad, usableGpus } from "./facts.js";

const purposes = { cpu: "the CPU", cuda: "GPUs", data: "images of folders and shards" };

/** What a module is to a run: without that of its device none starts. */
export function judgeModule(
  module: ModuleReport,
  others: readonly ModuleReport[],
  hasGpu: boolean,
): Line {
  const { name, state, problem, isFatal } = module;
  const title = `module ${name}`;
  if (state === "loads") return good(title, `loads in a process of its own; for ${purposes[name]}`);
  if (state === "not built" && name === "cuda" && !hasGpu)
    return good(title, "not here, not needed for the CPU");
  const found =
    state === "not built"
      ? `was never built here; needed for ${purposes[name]}`
      : isFatal
        ? `${problem}: it breaks the process that loads it`
        : problem!;
  // A run asks the module for GPUs before it falls back on the CPU.
  const keeps =
    name === "cpu" ? usableGpus(others).length === 0 : name === "cuda" && isFatal === true;
  return (keeps ? bad : warn)(title, found, buildCommand());
}

/** Numbers of a version: "9.24.0" is 9, 24, 0. */
const numbersOf = (version: string) => version.split(".").map(Number);

/** Whether a library is the one that was built with, or a later one of the same major version. */
export function serves(built: string, loaded: string): boolean {
  const [wanted, given] = [numbersOf(built), numbersOf(loaded)];
  if (wanted.some(Number.isNaN) || given.some(Number.isNaN)) return true; // the name of its file
  if (wanted[0] !== given[0]) return false;
  const difference = wanted.map((number, i) => (given[i] ?? 0) - number).find((one) => one !== 0);
  return (difference ?? 0) >= 0;
}

export function judgeLibrary(
  name: string,
  { built, loaded }: { built?: string; loaded?: string },
): Line {
  if (built === undefined) return good(name, loaded ?? "does not tell its version");
  if (loaded === undefined) return good(name, `built with ${built}; the loaded one does not tell`);
  const found = `built with ${built}, loaded ${loaded}`;
  if (serves(built, loaded)) return good(name, found);
  return warn(name, `${found}: expected the same major version, not older`, buildCommand());
}

const checkModules: Check = {
  name: "native modules",
  seconds: secondsToLoad + 1,
  advice: buildCommand(),
  look: async (facts) => {
    const modules = await facts.modules();
    return modules.map((module) => judgeModule(module, modules, facts.hasGpu));
  },
};

const checkLibraries: Check = {
  name: "libraries",
  seconds: secondsToLoad + 1,
  advice: buildCommand(),
  look: async (facts) => {
    const modules = await facts.modules();
    const libraries = modules.flatMap((module) => Object.entries(module.libraries));
    return libraries.map(([name, versions]) => judgeLibrary(name, versions));
  },
};

export const moduleChecks = [checkModules, checkLibraries];
