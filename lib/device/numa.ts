// Keeps a process next to its GPU: on a machine of several NUMA nodes, memory that the GPU copies from and
// the threads that fill it belong to the node that the GPU's bus hangs on.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { keepCores } from "./cores.js";
import { native } from "./native.js";

/** The numbers in a list as Linux writes it: "0-2,8" is 0, 1, 2, 8. */
export function numbersOf(list: string): number[] {
  return list
    .trim()
    .split(",")
    .filter((part) => part !== "")
    .flatMap((part) => {
      const [first, last = first] = part.split("-").map(Number) as [number, number?];
      return Array.from({ length: last! - first + 1 }, (_, i) => first + i);
    });
}

/** The processors that this process may run on, as Linux lists them. */
export function ownProcessorList(): string {
  const status = readFileSync("/proc/self/status", "utf8");
  return /^Cpus_allowed_list:\s*(\S+)/m.exec(status)![1]!;
}

/** The processors that this process may run on. */
export const ownProcessors = (): number[] => numbersOf(ownProcessorList());

/**
 * Where a process belongs that may run on the processors `own`: on those of them that are next to the
 * device at `bus`. Undefined where it runs on no others anyway, or on none of these, and where the
 * machine has one node or does not say.
 */
export function placeNear(
  bus: string,
  own: readonly number[],
  sysfs = "/sys",
): number[] | undefined {
  const read = (file: string) => readFileSync(join(sysfs, "bus/pci/devices", bus, file), "utf8");
  let node: number;
  let near: Set<number>;
  try {
    node = Number(read("numa_node"));
    near = new Set(numbersOf(read("local_cpulist")));
  } catch {
    return undefined;
  }
  if (!(node >= 0)) return undefined; // −1: the firmware says nothing
  const processors = own.filter((processor) => near.has(processor));
  if (processors.length === 0 || processors.length === own.length) return undefined;
  return processors;
}

/**
 * Moves this process to the processors next to a device, until it calls what this returns. What it
 * allocates from then on lies in their memory, since Linux takes memory where it is first touched. All
 * cores of the machine still count where they are shared among its workers, since the workers of other
 * nodes' GPUs leave this one; but a share is no more than the processors here.
 */
export function bindNear(bus: string, sysfs?: string): () => void {
  const own = ownProcessors();
  const near = placeNear(bus, own, sysfs);
  if (near === undefined) return () => {};
  const release = keepCores();
  const moveBack = () => {
    native.bindProcess(own);
    release();
  };
  if (!native.bindProcess(near)) moveBack();
  return moveBack;
}
