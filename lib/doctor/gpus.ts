// Checks the GPUs: memory, who else holds it, which can reach each other's memory, and what they are next to.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { driverVersion } from "../system/environment.js";
import { bytesText, plural } from "../text/words.js";
import { type Check, type Facts, good, type Line, type ModuleReport, warn } from "./check.js";
import { outputOf } from "./output-of.js";

/** A GPU as NVIDIA's tool shows it. */
export interface ToolGpu {
  index: number;
  name: string;
  bus: string;
  totalBytes: number;
  usedBytes: number;
}

/** A process that holds memory of a GPU. */
export interface Holder {
  bus: string;
  pid: number;
  name: string;
  /** Undefined where the tool may not say. */
  bytes: number | undefined;
}

/** sysfs has "0000:1b:00.0" where the tool has "00000000:1B:00.0". */
const busOf = (text: string) =>
  text
    .trim()
    .toLowerCase()
    .replace(/^0{4}(?=\w{4}:)/, "");

const mebibytes = (text: string | undefined) => Number.parseFloat(text ?? "") * 2 ** 20;

const rowsOf = (text: string) =>
  text
    .split("\n")
    .filter((line) => line.trim() !== "")
    .map((line) => line.split(",").map((cell) => cell.trim()));

/** Of `--query-gpu=index,name,pci.bus_id,memory.total,memory.used --format=csv,noheader,nounits`. */
export const readGpus = (text: string): ToolGpu[] =>
  rowsOf(text).map(([index, name = "", bus = "", total, used]) => ({
    ...{ index: Number(index), name, bus: busOf(bus) },
    ...{ totalBytes: mebibytes(total), usedBytes: mebibytes(used) },
  }));

/** Of `--query-compute-apps=gpu_bus_id,pid,used_memory,process_name --format=csv,noheader,nounits`. */
export const readHolders = (text: string): Holder[] =>
  rowsOf(text).map(([bus = "", pid, used, ...name]) => {
    const bytes = mebibytes(used);
    return {
      ...{ bus: busOf(bus), pid: Number(pid), name: name.join(",") },
      bytes: Number.isNaN(bytes) ? undefined : bytes,
    };
  });

/** The pairs of GPUs without access to each other's memory, of `nvidia-smi topo -p2p r`. */
export function readUnreachable(text: string): [number, number][] {
  const pairs: [number, number][] = [];
  for (const line of text.split("\n")) {
    const [, row, rest] = /^\s*GPU(\d+)\s+((?:\S+\s*)+)$/.exec(line) ?? [];
    if (row === undefined || /GPU/.test(rest!)) continue; // the head
    for (const [column, cell] of rest!.trim().split(/\s+/).entries())
      if (column > Number(row) && !["OK", "X"].includes(cell)) pairs.push([Number(row), column]);
  }
  return pairs;
}

/** The node of memory and processors that a device hangs on. */
function numaNode(bus: string): number | undefined {
  try {
    const node = Number(readFileSync(join("/sys/bus/pci/devices", bus, "numa_node"), "utf8"));
    return node >= 0 ? node : undefined;
  } catch {
    return undefined;
  }
}

/** Memory beyond this share of a GPU that others hold is in the way of a run. */
const muchHeld = 0.1;

/** What is known of one GPU. */
export interface SeenGpu {
  ordinal: number;
  name: string;
  capability?: string;
  memoryBytes?: number;
  usedBytes?: number;
  numa?: number;
  problem?: string;
  holders: readonly Holder[];
}

export function judgeGpu(gpu: SeenGpu, free: readonly number[]): Line {
  const { ordinal, name, capability, memoryBytes, usedBytes, numa, problem, holders } = gpu;
  const parts = [name];
  if (memoryBytes !== undefined) parts.push(bytesText(memoryBytes));
  if (usedBytes !== undefined) parts.push(`${bytesText((memoryBytes ?? 0) - usedBytes)} free`);
  if (capability) parts.push(`compute capability ${capability}`);
  if (numa !== undefined) parts.push(`NUMA node ${numa}`);
  const held = holders.map(
    ({ pid, name, bytes }) =>
      `process ${pid} (${name})${bytes === undefined ? "" : ` holds ${bytesText(bytes)}`}`,
  );
  const found = [...parts, ...held].join(", ");
  const title = `GPU ${ordinal}`;
  if (problem) return warn(title, `${found}; it ${problem}`, chooseOthers(free));
  if ((usedBytes ?? 0) > muchHeld * (memoryBytes ?? Number.POSITIVE_INFINITY)) {
    const whom = holders.map(({ pid }) => pid).join(",");
    const look = whom === "" ? "nvidia-smi" : `ps -o pid,user,etime,args -p ${whom}`;
    return warn(title, found, free.length > 0 ? chooseOthers(free) : look);
  }
  return good(title, found);
}

const chooseOthers = (free: readonly number[]) =>
  free.length > 0 ? `export CUDA_VISIBLE_DEVICES=${free.join(",")}` : "nvidia-smi";

/** GPUs by both views: CUDA's, which CUDA_VISIBLE_DEVICES narrows, else the tool's. */
export function mergeGpus(
  listed: ModuleReport["gpus"],
  seen: readonly ToolGpu[],
  holders: readonly Holder[],
): SeenGpu[] {
  const heldOn = (bus: string) => holders.filter((holder) => holder.bus === bus);
  if (listed.length === 0)
    return seen.map(({ index, name, bus, totalBytes, usedBytes }) => ({
      ...{ ordinal: index, name, memoryBytes: totalBytes, usedBytes },
      ...withNuma(bus),
      holders: heldOn(bus),
    }));
  return listed.map(({ ordinal, name, capability, memoryBytes, bus, problem }) => {
    const usedBytes = seen.find((gpu) => gpu.bus === bus)?.usedBytes;
    return {
      ...{ ordinal, name, capability, memoryBytes, problem },
      ...(usedBytes === undefined ? {} : { usedBytes }),
      ...withNuma(bus),
      holders: heldOn(bus),
    };
  });
}

function withNuma(bus: string): { numa?: number } {
  const numa = numaNode(bus);
  return numa === undefined ? {} : { numa };
}

const isFree = ({ problem = "", usedBytes = 0, memoryBytes = 0 }: SeenGpu) =>
  problem === "" && usedBytes <= muchHeld * memoryBytes;

const tool = "nvidia-smi";

async function look({ modules, hasGpu }: Facts): Promise<Line[]> {
  const cuda = (await modules()).find(({ name }) => name === "cuda")!;
  const query = "--format=csv,noheader,nounits";
  const [gpus = "", apps = "", peers = ""] = await Promise.all([
    outputOf(tool, "--query-gpu=index,name,pci.bus_id,memory.total,memory.used", query),
    outputOf(tool, "--query-compute-apps=gpu_bus_id,pid,used_memory,process_name", query),
    outputOf(tool, "topo", "-p2p", "r"),
  ]);
  const all = mergeGpus(cuda.gpus, readGpus(gpus), readHolders(apps));
  if (all.length === 0) return [noGpu(cuda, hasGpu)];
  const free = all.filter(isFree).map(({ ordinal }) => ordinal);
  const lines = all.map((gpu) => judgeGpu(gpu, free));
  if (cuda.state === "loads" && cuda.problem !== undefined)
    lines.push(warn("CUDA", cuda.problem, "nvidia-smi"));
  if (all.length > 1 && peers !== "") lines.push(judgePeers(readUnreachable(peers), all.length));
  return lines;
}

function noGpu({ problem }: ModuleReport, hasGpu: boolean): Line {
  const name = "GPUs";
  if (!hasGpu && driverVersion() === undefined)
    return good(name, "none here: the CPU computes, one worker by default");
  const found = problem ?? "an NVIDIA GPU is on the bus, but no tool of its driver shows it";
  return warn(name, found, "nvidia-smi");
}

export function judgePeers(unreachable: readonly [number, number][], count: number): Line {
  const name = "peer access";
  if (unreachable.length === 0) return good(name, `between all ${plural(count, "GPU")}`);
  const pairs = unreachable.slice(0, 8).map((pair) => pair.join("–"));
  const more = unreachable.length > 8 ? `, and ${unreachable.length - 8} more` : "";
  const found = `none between GPUs ${pairs.join(", ")}${more}: what they send goes through the host's memory`;
  return warn(name, found, "nvidia-smi topo -m");
}

export const gpuChecks: readonly Check[] = [
  { name: "GPUs", seconds: 12, advice: "nvidia-smi", look },
];
