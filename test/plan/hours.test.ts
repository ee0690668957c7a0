import { expect, test } from "vitest";
import { forecastStep } from "../../lib/plan/forecast.js";
import { imagenet, trainingHours } from "../../lib/plan/hours.js";

const free = { bandwidth: Number.POSITIVE_INFINITY, latency: 0 };
const topology = {
  algorithm: "ring",
  workersPerNode: 8,
  link: free,
  linkInside: free,
} as const;
/** k workers that take 0.25 s a step of n = 32, without communication. */
const at = (workers: number, accumulate = 1, decoding?: { imagesPerCore: number; cores: number }) =>
  forecastStep({ compute: 0.24, update: 0.01, buckets: [] }, workers, {
    ...{ batch: 32, accumulate, topology, ...decoding },
  });

test("256 workers at 0.25 s take the paper's 14,040 steps, and 7 forward passes an epoch", () => {
  expect(trainingHours(at(256), { ...imagenet, testImages: 0 }, 1)).toBeCloseTo(
    (90 * 156 * 0.25) / 3600,
    12,
  );
  expect(trainingHours(at(256), imagenet, 1)).toBeCloseTo(
    (90 * (156 * 0.25 + 7 * 0.08)) / 3600,
    12,
  );
});

test("micro-batches take fewer, longer steps, and test in as many batches", () => {
  expect(trainingHours(at(64, 4), imagenet, 4)).toBeCloseTo(
    (90 * (156 * 0.97 + 25 * 0.08)) / 3600,
    12,
  );
});

test("a node that decodes too slowly is slow in testing too", () => {
  const slow = at(256, 1, { imagesPerCore: 64, cores: 1 });
  expect(slow.seconds).toBe(4);
  expect(trainingHours(slow, imagenet, 1)).toBeCloseTo((90 * (156 * 4 + 7 * 4)) / 3600, 12);
});

test("a minibatch of more than all images is no training", () => {
  const work = { epochs: 10, images: 8191, testImages: 0 };
  expect(trainingHours(at(256), work, 1)).toBeUndefined();
  expect(trainingHours(at(256), { ...work, images: 8192 }, 1)).toBeCloseTo(2.5 / 3600, 12);
});
