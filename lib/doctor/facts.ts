// Finds what several checks need: the native modules, each loaded in a process of its own, and the GPUs on the bus.
import { hasGpu } from "../device/gpus.js";
import { isBuilt } from "../device/native.js";
import { ask, NoAnswer } from "./ask.js";
import type { Facts, ModuleReport } from "./check.js";

const names = ["cpu", "cuda", "data"] as const;
export const secondsToLoad = 30; // a network disk is slow when Node comes from it for the first time

async function load(name: ModuleReport["name"]): Promise<ModuleReport> {
  const empty = { name, libraries: {}, gpus: [] };
  if (!isBuilt(name)) return { ...empty, state: "not built" };
  try {
    return { name, state: "loads", ...(await ask("module", name, secondsToLoad)) };
  } catch (error) {
    if (!(error instanceof NoAnswer)) throw error;
    return { ...empty, state: "broken", problem: error.message, isFatal: error.isLost };
  }
}

/** Looks for what checks share when the first of them asks. */
export function gatherFacts(): Facts {
  let modules: Promise<ModuleReport[]> | undefined;
  return {
    hasGpu: hasGpu(),
    modules: () => {
      modules ??= Promise.all(names.map(load));
      return modules;
    },
  };
}

/** Whether one of the modules of these names loads. */
export const loads = (modules: readonly ModuleReport[], ...names: ModuleReport["name"][]) =>
  modules.some(({ name, state }) => names.includes(name) && state === "loads");

/** The GPUs that a run can take. */
export const usableGpus = (modules: readonly ModuleReport[]) =>
  modules.flatMap(({ gpus }) => gpus).filter(({ problem }) => problem === "");
