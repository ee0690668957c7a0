// Compares both forms of momentum on one sequence of gradients, through a warm-up and a drop.
import { expect, test } from "vitest";
import { Purpose, Random } from "../../lib/data/random.js";
import { evaluate } from "../../lib/graph/evaluate.js";
import { sgd } from "../../lib/ops/optimizers/sgd.js";
import { momentumFactor } from "../../lib/schedules/schedule.js";
import { stepSchedule } from "../../lib/schedules/step.js";
import { device } from "../support/device.js";

const length = 32;
const steps = 24;
const decay = 0.01;
const momentum = 0.9;
const learningRate = stepSchedule({
  lr: 0.1,
  minibatch: 2048,
  stepsPerEpoch: 8,
  epochs: 3,
  warmup: "gradual",
  warmupEpochs: 1,
  milestones: [2],
});

function draws(seed: number): Float32Array {
  const random = new Random(seed, Purpose.weights);
  return Float32Array.from({ length }, () => random.uniform() - 0.5);
}

interface Form {
  momentumForm: "gradient" | "velocity";
  momentumCorrection: boolean;
  nesterov: boolean;
}

/** Weights after each step, by the device's kernel. */
async function onDevice(form: Form): Promise<Float32Array[]> {
  const results: Float32Array[] = [];
  let w: Float32Array = draws(0);
  let v: Float32Array = new Float32Array(length);
  for (let step = 0; step < steps; step++) {
    const lr = learningRate(step);
    const factor = momentumFactor(form, lr, step > 0 ? learningRate(step - 1) : undefined);
    const result = await evaluate(device, (g) => {
      const { w: next, v: velocity } = sgd(
        {
          w: g.constant(w, [length]),
          g: g.constant(draws(step + 1), [length]),
          v: g.constant(v, [length]),
          schedule: g.constant(Float32Array.of(lr, factor), [2]),
        },
        {
          form: form.momentumForm,
          nesterov: form.nesterov,
          momentum,
          segments: [{ length, decay }],
        },
      );
      return { next, velocity };
    });
    w = result.next as Float32Array;
    v = result.velocity as Float32Array;
    results.push(w);
  }
  return results;
}

/** The gradient form in double precision, as the paper writes it. */
function reference(nesterov: boolean): Float64Array[] {
  const results: Float64Array[] = [];
  const w = Float64Array.from(draws(0));
  const u = new Float64Array(length);
  for (let step = 0; step < steps; step++) {
    const gradients = draws(step + 1);
    const lr = learningRate(step);
    for (let i = 0; i < length; i++) {
      const g = gradients[i]! + decay * w[i]!;
      u[i] = momentum * u[i]! + g;
      w[i]! -= lr * (nesterov ? g + momentum * u[i]! : u[i]!);
    }
    results.push(w.slice());
  }
  return results;
}

function farthest(a: ArrayLike<number>[], b: ArrayLike<number>[]): number {
  return Math.max(
    ...a.map((values, step) =>
      Math.max(...Array.from(values, (x, i) => Math.abs(x - b[step]![i]!))),
    ),
  );
}

test.each([{ nesterov: false }, { nesterov: true }])(
  "the corrected velocity form is the gradient form, nesterov: $nesterov",
  async ({ nesterov }) => {
    const expected = reference(nesterov);
    const gradient = { momentumForm: "gradient", momentumCorrection: true, nesterov } as const;
    const velocity = { momentumForm: "velocity", momentumCorrection: true, nesterov } as const;
    expect(farthest(await onDevice(gradient), expected)).toBeLessThan(1e-5);
    expect(farthest(await onDevice(velocity), expected)).toBeLessThan(1e-5);
  },
);

test("without correction the velocity form departs once the rate changes", async () => {
  const form = { momentumForm: "velocity", momentumCorrection: false, nesterov: true } as const;
  const uncorrected = await onDevice(form);
  const expected = reference(true);
  expect(farthest(uncorrected.slice(0, 1), expected)).toBeLessThan(1e-6);
  expect(farthest(uncorrected, expected)).toBeGreaterThan(0.05);
});
