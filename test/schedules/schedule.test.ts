// Compares learning rates at chosen steps to the paper's schedule.
import { expect, test } from "vitest";
import { schedules } from "../../lib/schedules/index.js";
import {
  defaultMilestones,
  momentumFactor,
  peakLearningRate,
  type ScheduleOptions,
  stepsOf,
  warmupSteps,
} from "../../lib/schedules/schedule.js";
import { stepSchedule } from "../../lib/schedules/step.js";
import { lookup, readFixture } from "../../proof/ops/fixtures.js";

const imagenet = 1_281_167; // training images

function paper(minibatch: number, changes: Partial<ScheduleOptions> = {}): ScheduleOptions {
  return {
    lr: 0.1,
    minibatch,
    stepsPerEpoch: Math.floor(imagenet / minibatch),
    epochs: 90,
    warmup: "gradual",
    warmupEpochs: 5,
    milestones: defaultMilestones(90),
    ...changes,
  };
}

test("kn = 256: no warm-up, and drops at epochs 30, 60 and 80", () => {
  const options = paper(256);
  expect(options.stepsPerEpoch).toBe(5004);
  expect(options.milestones).toEqual([30, 60, 80]);
  expect(warmupSteps(options)).toBe(0);
  const at = stepSchedule(options);
  for (const step of [0, 1, 5 * 5004, 30 * 5004 - 1]) expect(at(step)).toBe(0.1);
  expect(at(30 * 5004)).toBeCloseTo(0.01, 12);
  expect(at(60 * 5004 - 1)).toBeCloseTo(0.01, 12);
  expect(at(60 * 5004)).toBeCloseTo(0.001, 12);
  expect(at(80 * 5004 - 1)).toBeCloseTo(0.001, 12);
  expect(at(80 * 5004)).toBeCloseTo(0.0001, 12);
  expect(at(90 * 5004 - 1)).toBeCloseTo(0.0001, 12);
});

test("kn = 8192: gradual warm-up per step from 0.1 to 3.2 in 5 epochs", () => {
  const options = paper(8192);
  expect(options.stepsPerEpoch).toBe(156);
  expect(peakLearningRate(0.1, 8192)).toBeCloseTo(3.2, 12);
  expect(warmupSteps(options)).toBe(780);
  const at = stepSchedule(options);
  expect(at(0)).toBe(0.1);
  expect(at(1)).toBeCloseTo(0.1 + 3.1 / 780, 12);
  expect(at(390)).toBeCloseTo(1.65, 12);
  expect(at(779)).toBeCloseTo(3.2 - 3.1 / 780, 12);
  expect(at(780)).toBeCloseTo(3.2, 12);
  for (let step = 1; step <= 780; step++) {
    expect(at(step) - at(step - 1)).toBeCloseTo(3.1 / 780, 12);
  }
  expect(at(30 * 156 - 1)).toBeCloseTo(3.2, 12);
  expect(at(30 * 156)).toBeCloseTo(0.32, 12);
  expect(at(60 * 156)).toBeCloseTo(0.032, 12);
  expect(at(80 * 156)).toBeCloseTo(0.0032, 12);
});

test("kn = 8192: constant warm-up holds 0.1 and jumps; none begins at the peak", () => {
  const constant = stepSchedule(paper(8192, { warmup: "constant" }));
  expect([0, 400, 779].map(constant)).toEqual([0.1, 0.1, 0.1]);
  expect(constant(780)).toBeCloseTo(3.2, 12);
  const none = stepSchedule(paper(8192, { warmup: "none" }));
  expect(none(0)).toBeCloseTo(3.2, 12);
});

test("fractional epochs begin at the first step that is not before them", () => {
  expect(stepsOf(10 / 3, 3)).toBe(10);
  expect(stepsOf(0.5, 7)).toBe(4);
  expect(stepsOf(1 / 3, 300)).toBe(100);
  const at = stepSchedule(paper(128, { stepsPerEpoch: 7, milestones: [0.5, 1.25] }));
  expect([3, 4, 8, 9].map((step) => at(step) / 0.05)).toEqual([
    1,
    expect.closeTo(0.1, 12),
    expect.closeTo(0.1, 12),
    expect.closeTo(0.01, 12),
  ]);
});

test("the momentum factor is the ratio of rates, in the corrected velocity form only", () => {
  const velocity = { momentumForm: "velocity", momentumCorrection: true } as const;
  expect(momentumFactor(velocity, 0.1, undefined)).toBe(1);
  expect(momentumFactor(velocity, 0.3, 0.1)).toBeCloseTo(3, 12);
  expect(momentumFactor({ ...velocity, momentumCorrection: false }, 0.3, 0.1)).toBe(1);
  expect(momentumFactor({ ...velocity, momentumForm: "gradient" }, 0.3, 0.1)).toBe(1);
});

test.each(["cosine", "linear", "polynomial"] as const)("%s: PyTorch's rates", (name) => {
  const { data } = lookup(readFixture("schedules"))(name);
  const stepsPerEpoch = 8; // 5 epochs of warm-up of 30: 40 of 240 steps
  const options = paper(8192, { stepsPerEpoch, epochs: 30, milestones: [] });
  const rates = Array.from({ length: 240 }, (_, step) => schedules[name](options)(step));
  for (const [step, rate] of rates.entries()) {
    // PyTorch multiplies the last rate by the ratio of two: it rounds at every step, the fixture to f32.
    expect(Math.abs(rate - data[step]!)).toBeLessThan(1e-6 * 3.2);
  }
});

test.each([
  ["cosine", (done: number) => (1 + Math.cos(Math.PI * done)) / 2],
  ["linear", (done: number) => 1 - done],
  ["polynomial", (done: number) => (1 - done) ** 2],
] as const)("%s: after W of T steps of warm-up from the peak down to 0", (name, fall) => {
  const options = paper(8192, { milestones: [] });
  const [W, T] = [5 * 156, 90 * 156];
  expect(warmupSteps(options)).toBe(W);
  const at = schedules[name](options);
  expect(at(0)).toBe(0.1);
  expect(at(W - 1)).toBe(stepSchedule(options)(W - 1));
  expect(at(W)).toBe(3.2);
  for (const step of [W + 1, 2000, (W + T) / 2, T - 1])
    expect(at(step)).toBeCloseTo(3.2 * fall((step - W) / (T - W)), 12);
  expect(at(T - 1)).toBeGreaterThan(0);
  expect(at(T - 1)).toBeLessThan(3.2 / 1000);
  const unwarmed = schedules[name]({ ...options, warmup: "none" });
  expect(unwarmed(0)).toBe(3.2);
  expect(unwarmed(T / 2)).toBeCloseTo(3.2 * fall(1 / 2), 12);
});

test("the velocity needs no correction after a rate of 0", () => {
  const velocity = { momentumForm: "velocity", momentumCorrection: true } as const;
  expect(momentumFactor(velocity, 0, 0.1)).toBe(0);
  expect(momentumFactor(velocity, 0.1, 0)).toBe(1);
});
