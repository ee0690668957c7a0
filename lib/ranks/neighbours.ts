// What the ranks of a machine learn of one another when they meet: how many they are, which of them each
// is, and how many cores each may take. Engines say the first two seldom, and the last never: some bind
// each rank to processors of its own, others leave all of them to all ranks.
import { readFileSync, readlinkSync } from "node:fs";
import { cpus, hostname } from "node:os";
import { type CoreLimit, coreLimits } from "../device/cores.js";
import { numbersOf, ownProcessorList } from "../device/numa.js";
import type { Environment } from "../system/variables.js";
import { plural } from "../text/words.js";
import { engineOf } from "./engines.js";

/** What a rank says of itself. */
export interface Neighbour {
  /** The machine, or what counts as one (ONEHOUR_HOST). */
  machine: string;
  /** The machine and its network: containers may have one each, and then no Unix socket leads to the others. */
  host: string;
  /** The container's name, where ranks are in some. */
  name: string;
  /** By its engine, or 0. */
  localRank: number;
  /** Processors that it may run on, as Linux lists them ("0-2,8"), and how many the machine has. */
  processors: string;
  cpus: number;
  limits: CoreLimit[];
}

/** What this process says of itself. */
export function ownDescription(localRank: number): Neighbour {
  const own = process.env.ONEHOUR_HOST ?? "";
  const start = orElse(hostname(), () =>
    readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim(),
  );
  const network = orElse("", () => readlinkSync("/proc/self/ns/net"));
  return {
    ...{ machine: `${start} ${own}`, host: `${start} ${network} ${own}`, name: hostname() },
    ...{ localRank, processors: ownProcessorList(), cpus: cpus().length, limits: coreLimits() },
  };
}

/** What `read` finds, or something else in a sandbox without it. */
function orElse(otherwise: string, read: () => string): string {
  try {
    return read();
  } catch {
    return otherwise;
  }
}

/** The local rank and number of local ranks where the engine did not give the number. */
export function countedPlace(
  all: readonly Neighbour[],
  rank: number,
): { localRank: number; localWorldSize: number } {
  const { host, name, localRank } = all[rank]!;
  const here = all.flatMap((other, index) =>
    other.host === host && other.name === name ? [index] : [],
  );
  // Two processes that say the same have been told nothing, and would take the same GPU.
  const distinct = new Set(here.map((index) => all[index]!.localRank)).size === here.length;
  return {
    localRank: distinct && localRank < here.length ? localRank : here.indexOf(rank),
    localWorldSize: here.length,
  };
}

/**
 * The cores of each rank, as fractions: a processor is divided by the ranks that may run on it, and a
 * quota by the ranks that share it.
 */
export function sharesOfCores(all: readonly Neighbour[]): number[] {
  const takers = new Map<string, number>();
  const count = (key: string) => takers.set(key, (takers.get(key) ?? 0) + 1);
  const processorsOf = ({ machine, processors }: Neighbour) =>
    numbersOf(processors).map((processor) => `${machine} ${processor}`);
  const quotasOf = ({ machine, limits }: Neighbour) =>
    limits.map(({ group, cores }) => ({ key: `${machine} ${group}`, cores }));
  for (const neighbour of all) {
    for (const key of processorsOf(neighbour)) count(key);
    for (const { key } of quotasOf(neighbour)) count(key);
  }
  return all.map((neighbour) => {
    const own = processorsOf(neighbour).reduce((sum, key) => sum + 1 / takers.get(key)!, 0);
    return Math.min(own, ...quotasOf(neighbour).map(({ key, cores }) => cores / takers.get(key)!));
  });
}

/** A share as whole cores, at least 1. */
export const wholeCores = (share: number) => Math.max(1, Math.floor(share + 1e-6));

/**
 * What a user is told, once a run, of a worker that has one core where its machine has more for it: who
 * keeps it to one, and how to change that. Undefined where there is no such worker, or no flag.
 */
export function remarkOnCores(
  all: readonly Neighbour[],
  env: Environment = process.env,
): string | undefined {
  const shares = sharesOfCores(all);
  for (const [rank, { machine, cpus, limits }] of all.entries()) {
    if (wholeCores(shares[rank]!) > 1) continue;
    const workers = all.filter((other) => other.machine === machine).length;
    const cores = Math.floor(cpus / workers);
    const flag = cores < 2 ? undefined : flagForCores(env, cores, limits.length > 0);
    if (flag !== undefined)
      return (
        `a worker has 1 core, but its machine has ${cpus} for ${plural(workers, "worker")}. ` +
        `To give it more: ${flag}`
      );
  }
  return undefined;
}

/** Undefined where nobody but the user has bound the worker. */
function flagForCores(env: Environment, cores: number, hasLimit: boolean): string | undefined {
  if (env.KUBERNETES_SERVICE_HOST !== undefined)
    return `resources.limits.cpu of the container, up to ${cores} a worker`;
  const slurm = env.SLURM_JOB_ID === undefined ? undefined : "sbatch or srun --cpus-per-task=CORES";
  // A launcher of ours has only what its own engine leaves it.
  const { ONEHOUR_RANK: _, ...outer } = env;
  const flag = engineOf(outer)?.moreCores ?? slurm;
  if (flag !== undefined && hasLimit)
    return "the quota of its control group (cpu.max; docker run --cpus)";
  return flag?.replace("CORES", String(cores));
}
