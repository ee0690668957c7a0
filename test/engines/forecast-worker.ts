// One rank of `forecast.ts`: times steps with their all-reduces and without, in turn, and the parts of those without.
// Rank 0 prints it as JSON.
import { median } from "#lib/arrays/median.js";
import type { StepSettings } from "#lib/bench/contender.js";
import { partsOf, type StepParts } from "#lib/bench/parts.js";
import { compileStep, loadStep } from "#lib/bench/step.js";
import { groupName, type Variant, variantName, variantOf } from "#lib/bench/variants.js";
import { openDevice } from "#lib/device/open.js";
import { parse } from "#lib/graph/parse.js";
import { connect } from "#lib/ranks/connect.js";

/** What rank 0 prints. */
export interface Measured {
  /** Seconds of a step: a round each, of the slowest rank. */
  step: number[];
  alone: number[];
  parts: StepParts;
  /** Seconds of an all-reduce of one number. */
  smallest: number;
}

const { rounds, steps, ...settings } = JSON.parse(process.argv[2]!) as StepSettings & {
  rounds: number;
  steps: number;
};
const world = await connect();
using device = openDevice({ device: "cpu", threads: settings.threads });
const k = world.worldSize;
const compiled = compileStep(settings, device, k);
const { text } = compiled.programs.find(({ name }) => name === "last")!;
const variants: readonly Variant[] = ["alone", "step"];
const programs = variants.map((variant) => ({
  name: variantName(variant, k),
  text: variantOf(text, variant, k),
}));
using executor = await loadStep(device, { ...compiled, programs }, settings, {
  [groupName(k)]: await world.communicator(groupName(k), undefined, device),
});

/** Seconds of one of so many steps; all ranks begin together, and the last to end counts. */
async function run(variant: Variant, count: number): Promise<number> {
  await world.barrier();
  const start = performance.now();
  const slots: Promise<void>[] = [];
  for (let step = 0; step < count; step++) {
    const slot = step % executor.slots;
    await slots[slot];
    slots[slot] = executor.submit(variantName(variant, k), slot);
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

const timings = await executor.measure(variantName("alone", k), 0, 3);
const times = new Map(timings.map(({ line, milliseconds }) => [line, median(milliseconds)]));
if (world.rank === 0) {
  const result: Measured = {
    ...measured,
    parts: partsOf(parse(text), times),
    smallest: median(small),
  };
  console.log(JSON.stringify(result));
}
await world.close();
