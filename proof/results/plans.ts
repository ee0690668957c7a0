// Reads the results of searches for cuDNN's plans from the files that native/cuda/cudnn/plan-cache.h writes.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** A way to compute a graph that was tried. */
interface PlanTrial {
  /** cuDNN's engine in words, or what computes the graph in several kernels. */
  engine: string;
  /** Whether one plan computes all of it, where several kernels could. */
  fused: boolean;
  /** Whether its bits do; where others' do too it is only compared. */
  repeats: boolean;
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

/** Milliseconds of the fastest of some trials. */
const best = ({ trials = [] }: PlanSearch, belongs: (trial: PlanTrial) => boolean): number =>
  Math.min(
    ...trials.flatMap((trial) =>
      belongs(trial) && trial.milliseconds !== null ? trial.milliseconds : [],
    ),
  );

/** What a person reads of the searches; nothing where there were none. */
export function describeSearches(searches: readonly PlanSearch[]): string[] {
  if (searches.length === 0) return [];
  const trials = searches.flatMap((search) => search.trials ?? []);
  const seconds = searches.reduce((sum, search) => sum + (search.seconds ?? 0), 0);
  const both = searches.filter(({ trials = [] }) => trials.some(({ fused }) => fused));
  const won = both.filter(
    (search) => best(search, ({ fused }) => fused) < best(search, ({ fused }) => !fused),
  );
  const lines = [
    `${searches.length} searches, ${trials.length} trials, ${seconds.toFixed(1)} s`,
    `a fused plan was the fastest in ${won.length} of ${both.length} searches that tried one`,
  ];
  const compared = searches.filter(({ trials = [] }) => trials.some(({ repeats }) => !repeats));
  if (compared.length === 0) return lines;
  const times = compared
    .map((search) => ({
      repeating: best(search, ({ repeats }) => repeats),
      other: best(search, ({ repeats }) => !repeats),
    }))
    .filter(({ repeating, other }) => other < repeating && Number.isFinite(repeating));
  const sum = (of: (time: (typeof times)[number]) => number) =>
    times.reduce((total, time) => total + of(time), 0).toFixed(3);
  return [
    ...lines,
    `an engine whose bits do not repeat was faster in ${times.length} of ${compared.length} searches ` +
      `that compared one: ${sum(({ other }) => other)} ms where the others take ${sum(({ repeating }) => repeating)}`,
  ];
}

/** The plans that were chosen, as the cache has them, one a line. */
export function readPlans(folder: string): string {
  return readAll(folder, ".json")
    .map((plan) => `${JSON.stringify(plan)}\n`)
    .join("");
}
