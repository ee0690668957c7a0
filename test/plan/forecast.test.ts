// Forecasts of steps whose answers have a closed form.
import { describe, expect, test } from "vitest";
import type { Topology } from "../../lib/plan/algorithms.js";
import { type ForecastOptions, forecastStep, type Step } from "../../lib/plan/forecast.js";

const topology: Topology = {
  algorithm: "ring",
  workersPerNode: 1,
  link: { bandwidth: 1e9, latency: 0 },
  linkInside: { bandwidth: 1e9, latency: 0 },
};
const options: ForecastOptions = { batch: 32, accumulate: 1, topology };
const ring = (bytes: number, p: number) => (2 * bytes * (p - 1)) / p / 1e9;

/** 0.1 s of compute and 0.01 s of update, with these buckets. */
const step = (...buckets: Step["buckets"]): Step => ({ compute: 0.1, update: 0.01, buckets });
const atTheEnd = step({ bytes: 1e8, ready: 0.1 });
const workers = [1, 2, 3, 4, 7, 8, 100, 1024];

test.each(workers)("one bucket that is ready at the end: %d workers wait for all of it", (k) => {
  const { seconds, exposedCommunication, communication } = forecastStep(atTheEnd, k, options);
  expect(seconds).toBeCloseTo(0.11 + ring(1e8, k), 12);
  expect(exposedCommunication).toBeCloseTo(ring(1e8, k), 12);
  expect(communication).toBeCloseTo(ring(1e8, k), 12);
});

test("one worker communicates nothing and is the measure of efficiency", () => {
  const one = forecastStep(atTheEnd, 1, options);
  expect(one).toMatchObject({ seconds: 0.11, efficiency: 1, communication: 0, bound: "compute" });
  expect(one.imagesPerSecond).toBeCloseTo(32 / 0.11, 9);
});

test.each(workers)("a link of endless bandwidth: %d workers are as good as %d times one", (k) => {
  const link = { bandwidth: Number.POSITIVE_INFINITY, latency: 0 };
  const { efficiency, imagesPerSecond } = forecastStep(atTheEnd, k, {
    ...options,
    topology: { ...topology, link },
  });
  expect(efficiency).toBe(1);
  expect(imagesPerSecond).toBeCloseTo((k * 32) / 0.11, 6);
});

test("buckets that are all ready at the beginning: communication binds, then the last update", () => {
  const early = step({ bytes: 1e8, ready: 0 }, { bytes: 3e8, ready: 0 });
  const { seconds, bound } = forecastStep(early, 1024, options);
  expect(bound).toBe("communication");
  expect(seconds).toBeCloseTo(ring(4e8, 1024) + 0.01 * 0.75, 12);
});

test("a bucket waits for the one before it, and its update for the back-propagation", () => {
  const two = step({ bytes: 2e7, ready: 0.05 }, { bytes: 2e7, ready: 0.06 });
  const sum = ring(2e7, 2); // 0.02 s each: done at 0.07 and 0.09
  expect(forecastStep(two, 2, options).seconds).toBeCloseTo(0.11, 12);
  const slow = step({ bytes: 4e7, ready: 0.05 }, { bytes: 4e7, ready: 0.06 });
  // Done at 0.09 and 0.13; the first update ends at 0.105, the second begins at 0.13.
  expect(sum).toBeCloseTo(0.02, 12);
  expect(forecastStep(slow, 2, options).seconds).toBeCloseTo(0.13 + 0.005, 12);
});

test("micro-batches add compute, and communication is still once a step", () => {
  const { seconds, minibatch, compute } = forecastStep(atTheEnd, 4, { ...options, accumulate: 3 });
  expect(minibatch).toBe(4 * 3 * 32);
  expect(compute).toBeCloseTo(0.3, 12);
  expect(seconds).toBeCloseTo(0.31 + ring(1e8, 4), 12);
});

test("a step without buckets is compute and update", () => {
  expect(forecastStep(step(), 8, options).seconds).toBeCloseTo(0.11, 12);
  expect(forecastStep(step({ bytes: 0, ready: 0 }), 8, options).seconds).toBeCloseTo(0.11, 12);
});

describe("the input", () => {
  const decoding = { imagesPerCore: 100, cores: 2 };
  const eight = { ...options, topology: { ...topology, workersPerNode: 8 }, ...decoding };

  test("binds where a node decodes less than its workers take", () => {
    const eightWorkers = forecastStep(atTheEnd, 8, eight);
    expect(eightWorkers.bound).toBe("input");
    expect(eightWorkers.seconds).toBeCloseTo((8 * 32) / 200, 12);
    expect(eightWorkers.imagesPerNode).toBeCloseTo(200, 9);
    expect(eightWorkers.coresPerNode).toBeCloseTo(2, 9);
    expect(eightWorkers.imagesPerSecond).toBeCloseTo(200, 9);
  });

  test("scales with the nodes", () => {
    expect(forecastStep(atTheEnd, 64, eight).imagesPerSecond).toBeCloseTo(8 * 200, 6);
  });

  test("does not bind one worker of the node, and tells the cores that it takes", () => {
    const fast = { ...eight, imagesPerCore: 1000 };
    const one = forecastStep(atTheEnd, 1, fast);
    expect(one).toMatchObject({ bound: "compute", inputWait: 0, seconds: 0.11 });
    expect(one.coresPerNode).toBeCloseTo(32 / 0.11 / 1000, 9);
  });
});

test.each([
  ["one bucket", atTheEnd],
  ["early ones", step({ bytes: 5e6, ready: 0.02 }, { bytes: 9e7, ready: 0.08 })],
])("more workers never make a step shorter, and its parts add up to it (%s)", (_, measured) => {
  const decoding = { imagesPerCore: 120, cores: 3 };
  const all = Array.from({ length: 200 }, (_, i) =>
    forecastStep(measured, i + 1, { ...options, ...decoding }),
  );
  for (const [i, f] of all.entries()) {
    const parts = f.compute + f.update + f.exposedCommunication + f.inputWait;
    expect(parts).toBeCloseTo(f.seconds, 12);
    if (i > 0) expect(f.seconds).toBeGreaterThanOrEqual(all[i - 1]!.seconds);
  }
});
