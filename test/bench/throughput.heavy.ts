// Runs `onehour bench throughput` in processes, on so small a model that it takes seconds.
import { expect, test } from "vitest";
import type { ThroughputResult } from "../../lib/bench/throughput.js";
import { onehour } from "../cli/command.js";

const tiny = ["--model", "resnet8", "--batch", "4", "--steps", "2", "--threads", "1"];

test("--json reports every worker count, the split of its step and the memory", async () => {
  const { status, stdout, stderr } = await onehour([
    ...["bench", "throughput", ...tiny, "--workers", "3,1,2,3", "--json"],
  ]);
  expect(stderr).toBe("");
  expect(status).toBe(0);
  const { results, settings, steps, peak } = JSON.parse(stdout) as ThroughputResult;
  expect(settings).toMatchObject({ model: "resnet8", batch: 4, precision: "fp32", threads: 1 });
  expect(steps).toBe(2);
  expect(peak).toBeGreaterThan(1e8);
  expect(results.map(({ workers }) => workers)).toEqual([1, 2, 3]);
  for (const { imagesPerSecond, rounds, plannedBytes, peakBytes, scaling } of results) {
    expect(imagesPerSecond).toBeGreaterThan(0);
    expect(rounds).toHaveLength(5);
    expect(plannedBytes).toBeGreaterThan(1e6);
    expect(peakBytes).toBeLessThan(1.2 * plannedBytes! + 200e6);
    const { split, stepSeconds, buckets, rounds: times } = scaling!;
    expect(Object.values(split).reduce((a, b) => a + b)).toBeCloseTo(stepSeconds, 9);
    expect(split.compute).toBeGreaterThan(0);
    expect(split.update).toBeGreaterThan(0);
    expect(buckets[0]!.ready).toBeLessThan(stepSeconds);
    expect(times.withoutCollectives).toHaveLength(5);
  }
});

test("without PyTorch it says how to get it", async () => {
  const { status, stderr } = await onehour(
    ["bench", "throughput", ...tiny, "--against", "pytorch"],
    { env: { ONEHOUR_PYTHON: "/nowhere/python3" } },
  );
  expect(stderr).toMatch("/nowhere/python3");
  expect(stderr).toMatch("pip install torch==");
  expect(status).toBe(1);
});
