// Reads the state of the GPU from nvidia-smi: once, and while something runs.
import { execFileSync, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { median } from "#lib/arrays/median.js";

/**
 * CUDA's first GPU as nvidia-smi names it, by index or UUID. scripts/verify-gpu lets both count along
 * the PCI bus.
 */
function firstGpu(): string {
  const first = process.env.CUDA_VISIBLE_DEVICES?.split(",")[0]?.trim() || "0";
  return first.startsWith("MIG-") ? gpuOf(first) : first;
}

/** The GPU that a MIG instance is a part of: a query takes no instance. */
function gpuOf(instance: string): string {
  const named = /^MIG-(GPU-[^/]+)\//.exec(instance); // as drivers before 470 name it
  if (named) return named[1]!;
  let gpu = instance;
  // Each GPU with its instances below it.
  for (const [, uuid] of execFileSync("nvidia-smi", ["-L"], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  }).matchAll(/\(UUID: ([^)]+)\)/g)) {
    if (uuid!.startsWith("GPU-")) gpu = uuid!;
    else if (uuid!.startsWith(instance)) break;
  }
  return gpu;
}

const query = (fields: readonly string[]) => [
  `--query-gpu=${fields.join(",")}`,
  "--format=csv,noheader,nounits",
  `--id=${firstGpu()}`,
];

/** The values of the fields, without units. Throws without nvidia-smi. */
export function queryGpu(fields: readonly string[]): string[] {
  const values = execFileSync("nvidia-smi", query(fields), {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
    timeout: 20_000, // a driver that hangs must not take the verification with it
  });
  return values.trim().split(", ");
}

/** What is read while something runs; of several names, the first that the driver knows. */
const readings = {
  smMhz: ["clocks.sm"],
  memoryMhz: ["clocks.mem"],
  watts: ["power.draw"],
  celsius: ["temperature.gpu"],
  throttle: ["clocks_event_reasons.active", "clocks_throttle_reasons.active"],
} as const;

type Reading = keyof typeof readings;

/** NVML's bits of the reasons why a clock is below what it could be. */
const reasons = [
  "idle",
  "application clocks",
  "power cap",
  "hardware slowdown",
  "sync boost",
  "software thermal slowdown",
  "hardware thermal slowdown",
  "hardware power brake",
  "display clocks",
];

/** What was read during a span of time: "absent" where nvidia-smi printed nothing. */
export type GpuState = Record<
  Exclude<Reading, "throttle">,
  { least: number; median: number; most: number } | "absent"
> & { samples: number; throttle: string[] | "absent" };

const sampleEvery = 200; // ms

/** Asks for clocks, power, temperature and throttle reasons all the while. */
export class GpuWatch implements Disposable {
  private readonly samples: { at: number; values: Map<Reading, string> }[] = [];
  private readonly stop: () => void = () => {};

  constructor() {
    const known = answered();
    if (known.size === 0) return;
    const child = spawn("nvidia-smi", [...query([...known.values()]), `--loop-ms=${sampleEvery}`], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    child.on("error", () => {}); // absent, then
    createInterface(child.stdout).on("line", (line) => {
      const values = line.split(", ");
      this.samples.push({
        at: performance.now(),
        values: new Map([...known.keys()].map((reading, i) => [reading, values[i] ?? ""])),
      });
    });
    this.stop = () => child.kill();
  }

  /** What was read since a time of `performance.now()`. */
  since(start: number): GpuState {
    const samples = this.samples.filter(({ at }) => at >= start);
    const texts = (reading: Reading) =>
      samples.flatMap(({ values }) => values.get(reading) ?? []).filter((text) => /^\d/.test(text));
    const numbers = (reading: Reading) => {
      const values = texts(reading).map(Number);
      if (values.length === 0) return "absent";
      return { least: Math.min(...values), median: median(values), most: Math.max(...values) };
    };
    const masks = texts("throttle").map(Number);
    const isSet = (bit: number) => masks.some((mask) => (mask >> bit) & 1);
    return {
      samples: samples.length,
      smMhz: numbers("smMhz"),
      memoryMhz: numbers("memoryMhz"),
      watts: numbers("watts"),
      celsius: numbers("celsius"),
      throttle: masks.length === 0 ? "absent" : reasons.filter((_, bit) => isSet(bit)),
    };
  }

  [Symbol.dispose](): void {
    this.stop();
  }
}

/** Whether the driver's nvidia-smi knows all of the fields. */
function areAnswered(...fields: string[]): boolean {
  try {
    return queryGpu(fields).every((value) => /^\d/.test(value));
  } catch {
    return false;
  }
}

/** The fields that nvidia-smi answers: by one call where it knows the newest names of all. */
function answered(): Map<Reading, string> {
  const all = Object.entries(readings) as [Reading, readonly [string, ...string[]]][];
  const newest = new Map(all.map(([reading, [name]]) => [reading, name]));
  if (areAnswered(...newest.values())) return newest;
  const known = new Map<Reading, string>();
  for (const [reading, names] of all) {
    const name = names.find((field) => areAnswered(field));
    if (name !== undefined) known.set(reading, name);
  }
  return known;
}

/** A state as a person reads it. */
export function describeState({ samples, smMhz, watts, throttle }: GpuState): string {
  if (samples === 0) return "clock and power absent";
  const middle = (reading: GpuState["smMhz"], unit: string) =>
    reading === "absent" ? `${unit} absent` : `${reading.median.toFixed(0)} ${unit}`;
  const slowed = throttle === "absent" ? "throttle reasons absent" : throttle.join(" and ");
  return [middle(smMhz, "MHz"), middle(watts, "W"), slowed || "not throttled"].join(", ");
}
