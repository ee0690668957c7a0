// Reads the results of searches for cuDNN's plans from the files that native/cuda/cudnn/plan-cache.h writes.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** A way to compute a graph that was tried. */
interface PlanTrial {
  /** cuDNN's engine in words, or what computes the graph in several kernels. */
  engine: string;
  /** Whether one plan computes all of it, where several kernels could. */
  fused: boolean;
  /** Null where it did not run. */
  milliseconds: number | null;
}

/** The search for the fastest way to compute a graph. */
interface PlanSearch {
  /** Pattern, arithmetic, shapes, device and cuDNN's version. */
  name: string;
  /** What making and trying the plans took. */
  seconds: number;
  trials: PlanTrial[];
}

/** The files' contents; one that is no JSON, as its text. */
function readAll(folder: string, ending: string): unknown[] {
  if (!existsSync(folder)) return [];
  const files = readdirSync(folder).filter((file) => file.endsWith(ending));
  return files.sort().map((file) => {
    const text = readFileSync(join(folder, file), "utf8");
    try {
      return JSON.parse(text);
    } catch {
      return { file, text };
    }
  });
}

/** The searches that took place, by name. */
export function readSearches(folder: string): PlanSearch[] {
  const searches = readAll(folder, ".search") as PlanSearch[];
  return searches.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** What a person reads of the searches; nothing where there were none. */
export function describeSearches(searches: readonly PlanSearch[]): string[] {
  if (searches.length === 0) return [];
  const trials = searches.flatMap((search) => search.trials ?? []);
  const seconds = searches.reduce((sum, search) => sum + (search.seconds ?? 0), 0);
  const best = (search: PlanSearch, fused: boolean) =>
    Math.min(
      ...(search.trials ?? []).map((trial) =>
        trial.fused === fused && trial.milliseconds !== null
          ? trial.milliseconds
          : Number.POSITIVE_INFINITY,
      ),
    );
  const both = searches.filter(({ trials = [] }) => trials.some(({ fused }) => fused));
  const won = both.filter((search) => best(search, true) < best(search, false));
  return [
    `${searches.length} searches, ${trials.length} trials, ${seconds.toFixed(1)} s`,
    `a fused plan was the fastest in ${won.length} of ${both.length} searches that tried one`,
  ];
}

/** The plans that were chosen, as the cache has them, one a line. */
export function readPlans(folder: string): string {
  return readAll(folder, ".json")
    .map((plan) => `${JSON.stringify(plan)}\n`)
    .join("");
}
