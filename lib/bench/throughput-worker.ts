// One worker of `onehour bench throughput`: loads the training steps that it takes part in, then does what
// it is asked to.
import { readFileSync, writeFileSync } from "node:fs";
import { connect as connectSocket } from "node:net";
import { createInterface } from "node:readline";
import type { Executor, NativeCommunicator } from "../device/device.js";
import { openDevice } from "../device/open.js";
import type { CompiledModel } from "../graph/compile.js";
import { parse } from "../graph/parse.js";
import { openModel } from "../models/models.js";
import { connect } from "../ranks/connect.js";
import { introduce } from "../ranks/introduce.js";
import type { Round } from "./contender.js";
import { matrixRate } from "./matrix-rate.js";
import { partsOf, type StepParts } from "./parts.js";
import { compileStep, fillSlots, loadStep } from "./step.js";
import { type Count, groupName, type Variant, variantName, variantOf } from "./variants.js";
import type { Hello, Request, WorkerSettings } from "./workers.js";

const settings = JSON.parse(process.argv[2]!) as WorkerSettings;
const world = await connect();
const device = openDevice({ device: settings.device, threads: settings.threads, bind: true });
await openModel(settings.model);

/** The ranks that count up to a number of workers idle while it is measured. */
const counts = settings.counts.filter(({ workers }) => world.rank < workers);

/** Without collectives, a step of one worker has nothing to leave out: that of two has. */
const compiled = new Map(
  counts.map((count) => [count.workers, compileFor(count, Math.max(2, count.workers))]),
);
/** Images of a worker in the slots. */
let filledFor = counts[0]!.batch;

function compileFor({ batch }: Count, workers: number): CompiledModel {
  return compileStep({ ...settings, batch }, device, workers);
}

/** The text of the whole step where gradients do not accumulate. */
const stepText = ({ programs }: CompiledModel) =>
  programs.find(({ name }) => name === "last")!.text;

/** A communicator of the first `workers` ranks; every rank calls this, and the others get none. */
async function groupOf(workers: number): Promise<NativeCommunicator | undefined> {
  const name = groupName(workers);
  if (workers === world.worldSize) return await world.communicator(name, undefined, device);
  const isMember = world.rank < workers;
  // The launcher ends whoever waits for a rank that is gone.
  const seconds = 100 * 3600;
  const own = isMember
    ? device.createCommunicator(world.rank, workers, seconds, false, name)
    : undefined;
  await introduce(own, world, `communicator ${name}`);
  return own;
}

/** Rank 0 measures the device's peak while the others wait, before the programs take their memory. */
async function peak(): Promise<number> {
  const rate = world.rank === 0 ? await matrixRate(device, settings.precision) : 0;
  forgetLargestSize();
  await world.gather("peak", "");
  return rate;
}

/** Lets the largest resident size count from now on, where the system can: matrices are no part of a step. */
function forgetLargestSize(): void {
  try {
    writeFileSync("/proc/self/clear_refs", "5");
  } catch {}
}

/** Bytes that this process had in memory at most. */
function largestSize(): number {
  const [, kilobytes] = /^VmHWM:\s+(\d+)/m.exec(readFileSync("/proc/self/status", "utf8")) ?? [];
  return 1024 * (kilobytes === undefined ? process.resourceUsage().maxRSS : Number(kilobytes));
}

async function load(): Promise<Executor> {
  const communicators: Record<string, NativeCommunicator> = {};
  for (const { workers } of settings.counts) {
    const group = workers > 1 ? await groupOf(workers) : undefined;
    if (group) communicators[groupName(workers)] = group;
  }
  const programs = counts.flatMap((count) => {
    const { workers } = count;
    const together = stepText(compiled.get(workers)!);
    const step = workers > 1 ? together : stepText(compileFor(count, 1));
    const texts: [Variant, string][] = [
      ["step", step],
      ["alone", together],
    ];
    return texts.map(([variant, text]) => ({
      name: variantName(variant, workers),
      text: variantOf(text, variant, workers),
    }));
  });
  const first = compiled.get(counts[0]!.workers)!;
  const weights = first.programs.filter(({ name }) => name === "weights");
  const all = { ...first, programs: [...programs, ...weights] };
  const loaded = await loadStep(device, all, { ...settings, batch: filledFor }, communicators);
  if (device.properties.kind === "cuda") {
    // All ranks replay graphs, or none does.
    const reasons = await world.gather("record", (await loaded.record()) ?? "");
    if (reasons.some(({ length }) => length > 0)) await loaded.forget();
  }
  return loaded;
}

/** The slots hold images, labels and rate where a minibatch's program has them. */
function fillFor(workers: number): void {
  const { batch } = counts.find((count) => count.workers === workers)!;
  if (batch === filledFor) return;
  fillSlots(executor, compiled.get(workers)!, { ...settings, batch });
  filledFor = batch;
}

async function run(variant: Variant, workers: number, steps: number): Promise<Round> {
  fillFor(workers);
  const program = variantName(variant, workers);
  const start = performance.now();
  const slots: Promise<void>[] = [];
  let queued = 0;
  let idleSince = start;
  let idle = 0;
  const end = () => {
    queued -= 1;
    if (queued === 0) idleSince = performance.now();
  };
  for (let step = 0; step < steps; step++) {
    const slot = step % executor.slots;
    await slots[slot];
    if (queued === 0) idle += performance.now() - idleSince;
    queued += 1;
    slots[slot] = executor.submit(program, slot).then(end);
  }
  await Promise.all(slots);
  return {
    seconds: (performance.now() - start) / 1000,
    inputWait: idle / 1000,
    peakBytes: largestSize(),
  };
}

async function measure(workers: number): Promise<StepParts> {
  fillFor(workers);
  const timings = await executor.measure(variantName("alone", workers), 0, 1);
  const times = new Map(timings.map(({ line, milliseconds }) => [line, milliseconds[0]!]));
  return partsOf(parse(stepText(compiled.get(workers)!)), times);
}

const rate = settings.measuresPeak ? await peak() : undefined;
const executor = await load();
const control = connectSocket(settings.control);
const send = (message: Hello | Round | StepParts) => control.write(`${JSON.stringify(message)}\n`);
const { name, kind } = device.properties;
const plannedBytes = executor.memory.total;
send({ rank: world.rank, device: { name, kind }, plannedBytes, rate });
for await (const line of createInterface(control)) {
  const { variant, workers, steps } = JSON.parse(line) as Request;
  send(steps === undefined ? await measure(workers) : await run(variant, workers, steps));
}

executor.dispose();
device.dispose();
await world.close();
