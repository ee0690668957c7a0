// Counts the cores that this process may use: the affinity mask, cut by the control group's quota, and
// shared among the workers of this machine.

import { readFileSync, statSync } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { OnehourError } from "../errors.js";
import { nameOf } from "../recipe/voice.js";
import { type Environment, readSetting } from "../system/variables.js";
import { plural, shown } from "../text/words.js";

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

/** Cores that a quota allows: "max 100000" or "150000 100000" (cgroup v2), -1 means no limit. */
function quotaCores(quota: string | undefined, period: string | undefined): number {
  const cores = Number(quota) / Number(period);
  return cores > 0 ? cores : Number.POSITIVE_INFINITY;
}

/** A quota of processor time. */
export interface CoreLimit {
  /** The control group whose processes share it, by a name that it has in every container. */
  group: string;
  cores: number;
}

/** The quotas from this process' control group up to the root. */
export function coreLimits(): CoreLimit[] {
  const limits: CoreLimit[] = [];
  for (const line of read("/proc/self/cgroup")?.trim().split("\n") ?? []) {
    const [, controllers, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    const unified = controllers === "";
    if (path === undefined || !(unified || controllers?.split(",").includes("cpu"))) continue;
    for (let folder = path; ; folder = dirname(folder)) {
      const base = join("/sys/fs/cgroup", unified ? "" : "cpu", folder);
      const [quota, period] = unified
        ? (read(join(base, "cpu.max"))?.trim().split(" ") ?? [])
        : [read(join(base, "cpu.cfs_quota_us")), read(join(base, "cpu.cfs_period_us"))];
      const cores = quotaCores(quota, period);
      if (cores < Number.POSITIVE_INFINITY) limits.push({ group: idOf(base), cores });
      if (folder === "/" || folder === ".") break;
    }
  }
  return limits;
}

function idOf(folder: string): string {
  const { dev, ino } = statSync(folder);
  return `${dev}:${ino}`;
}

let kept: number | undefined;

/** Cores that this process may run on now, at least 1. */
function coresNow(): number {
  const limits = coreLimits().map(({ cores }) => Math.floor(cores));
  return Math.max(1, Math.min(availableParallelism(), ...limits));
}

/** Cores that this process may use, at least 1; since `keepCores`, those that it could use then. */
export function usableCores(): number {
  return kept ?? coresNow();
}

/**
 * Lets the count of cores stay as it is where the process confines itself to some. Returns what lets it
 * change again.
 */
export function keepCores(): () => void {
  kept = usableCores();
  return () => {
    kept = undefined;
  };
}

/**
 * Throws ERR_USAGE for threads that nobody can mean: more than four a core, which only take the cores
 * from one another. A few are allowed anywhere, so that a recipe of a larger machine runs here too.
 */
export function requireThreads(threads: number): void {
  const most = Math.max(16, 4 * usableCores());
  if (Number.isInteger(threads) && threads >= 1 && threads <= most) return;
  throw new OnehourError(
    "ERR_USAGE",
    `${nameOf("threads")} is ${shown(threads)}, expected a whole number from 1 to ${most} on ${plural(usableCores(), "core")}; ` +
      `leave it out for this worker's share of the cores, ${plural(defaultThreads({}), "thread")}`,
  );
}

/**
 * Throws ERR_USAGE for worker processes that nobody can mean on one machine: each of them is a Node of
 * its own, with megabytes of memory, and a slip of the keyboard would take all of it.
 */
export function requireProcesses(workers: number): void {
  const most = Math.max(64, 4 * usableCores());
  if (Number.isInteger(workers) && workers >= 1 && workers <= most) return;
  throw new OnehourError(
    "ERR_USAGE",
    `${nameOf("workers")} is ${shown(workers)}, expected a whole number from 1 to ${most} on ${plural(usableCores(), "core")}`,
  );
}

let agreed: number | undefined;

/** Takes the share of the cores that the ranks of this machine worked out when they met; undefined forgets it. */
export function agreeOnShare(cores: number | undefined): void {
  agreed = cores;
}

/**
 * A worker's share of the cores, at least 1: what the ranks of this machine agreed on, else the usable
 * cores divided by the workers on this machine, but no more than the worker may run on once it is bound
 * to some processors.
 */
export function shareOfCores(workers: number): number {
  return Math.max(1, Math.min(coresNow(), agreed ?? Math.floor(usableCores() / workers)));
}

/**
 * Compute threads of a worker: ONEHOUR_THREADS, else its share of the cores among the workers on this
 * machine (ONEHOUR_LOCAL_WORLD_SIZE).
 */
export function defaultThreads(environment: Environment = process.env): number {
  const threads = readSetting("ONEHOUR_THREADS", environment);
  if (threads !== undefined) return threads;
  return shareOfCores(readSetting("ONEHOUR_LOCAL_WORLD_SIZE", environment) ?? 1);
}
