// One rank of `forecast.ts`: times steps with their all-reduces and without, in turn, and the parts of those without.
// Rank 0 prints it as JSON.
import { median } from "#lib/arrays/median.js";
import type { StepSettings } from "#lib/bench/contender.js";
import { compileStep, loadStep } from "#lib/bench/step.js";
import { openDevice } from "#lib/device/open.js";
import { operandBytes, parse } from "#lib/graph/parse.js";
import { type Instruction, print } from "#lib/graph/program.js";
import { connect } from "#lib/ranks/connect.js";

/** What rank 0 prints. */
export interface Measured {
  /** Seconds of a step: a round each, of the slowest rank. */
  step: number[];
  alone: number[];
  /** Parts of the step without all-reduces, instruction by instruction. */
  parts: { seconds: number; update: number; buckets: { bytes: number; ready: number }[] };
  /** Seconds of an all-reduce of one number. */
  smallest: number;
}

const { rounds, steps, ...settings } = JSON.parse(process.argv[2]!) as StepSettings & {
  rounds: number;
  steps: number;
};
const world = await connect();
using device = openDevice({ device: "cpu", threads: settings.threads });
const compiled = compileStep(settings, device, world.worldSize);
const { text } = compiled.programs.find(({ name }) => name === "last")!;
const { arenas, instructions } = parse(text);
const communicates = ({ attributes }: Instruction) => "communicator" in attributes;
/** The step, and the same without its all-reduces. */
const kept = {
  step: instructions,
  alone: instructions.filter((instruction) => !communicates(instruction)),
};
type Variant = keyof typeof kept;
const variants: readonly Variant[] = ["alone", "step"];
const programs = variants.map((name) => ({
  name,
  text: print({ name, arenas, instructions: kept[name] }),
}));
using executor = await loadStep(device, { ...compiled, programs }, settings, {
  gradients: await world.communicator("gradients", undefined, device),
});

/** Seconds of one of so many steps; all ranks begin together, and the last to end counts. */
async function run(variant: Variant, count: number): Promise<number> {
  await world.barrier();
  const start = performance.now();
  const slots: Promise<void>[] = [];
  for (let step = 0; step < count; step++) {
    const slot = step % executor.slots;
    await slots[slot];
    slots[slot] = executor.submit(variant, slot);
  }
  await Promise.all(slots);
  await world.barrier();
  return (performance.now() - start) / 1000 / count;
}

const measured: Pick<Measured, Variant> = { alone: [], step: [] };
for (const variant of variants) await run(variant, 1);
for (let round = 0; round < rounds; round++)
  for (const variant of variants) measured[variant].push(await run(variant, steps));

const one = new Float32Array(1);
const small: number[] = [];
for (let i = 0; i < 200; i++) {
  const start = performance.now();
  await world.allReduce(one);
  small.push((performance.now() - start) / 1000);
}

/** When each bucket is there, and what the update takes, adding up the lines' own times; events take none. */
function partsOf(milliseconds: ReadonlyMap<number, number>): Measured["parts"] {
  const parts: Measured["parts"] = { seconds: 0, update: 0, buckets: [] };
  // The instructions are the last lines of a text.
  let line = programs[0]!.text.trimEnd().split("\n").length - kept.alone.length;
  for (const instruction of instructions) {
    if (communicates(instruction)) {
      const bytes = instruction.inputs.reduce((sum, input) => sum + operandBytes(input), 0);
      parts.buckets.push({ bytes, ready: parts.seconds });
      continue;
    }
    line += 1;
    const seconds = (milliseconds.get(line) ?? 0) / 1000;
    parts.seconds += seconds;
    if (instruction.outputs.some(({ arena }) => arena === "param")) parts.update += seconds;
  }
  return parts;
}

const timings = await executor.measure("alone", 0, 3);
const times = new Map(timings.map(({ line, milliseconds }) => [line, median(milliseconds)]));
const parts = partsOf(times);
const timed = [...times.values()].reduce((sum, each) => sum + each, 0) / 1000;
if (Math.abs(parts.seconds - timed) > 1e-9)
  throw new Error("lines were timed that no instruction has");
if (world.rank === 0) {
  const result: Measured = { ...measured, parts, smallest: median(small) };
  console.log(JSON.stringify(result));
}
await world.close();
