// Runs `onehour bench throughput` on so small a model that it takes seconds.
import { describe, expect, test } from "vitest";
import { median } from "../../lib/arrays/median.js";
import { throughputTable } from "../../lib/bench/throughput.js";
import { onehour } from "../cli/command.js";

const tiny = ["--model", "resnet8", "--batch", "4", "--steps", "2", "--threads", "1"];

test("--json reports every worker count and the memory", async () => {
  const { status, stdout, stderr } = await onehour([
    ...["bench", "throughput", ...tiny, "--workers", "2,1,2", "--json"],
  ]);
  expect(stderr).toBe("");
  expect(status).toBe(0);
  const { results, settings, steps } = JSON.parse(stdout);
  expect(settings).toMatchObject({ model: "resnet8", batch: 4, precision: "fp32", threads: 1 });
  expect(steps).toBe(2);
  expect(results.map(({ workers }: { workers: number }) => workers)).toEqual([1, 2]);
  for (const { imagesPerSecond, rounds, plannedBytes, peakBytes } of results) {
    expect(imagesPerSecond).toBeGreaterThan(0);
    expect(rounds).toHaveLength(5);
    expect(plannedBytes).toBeGreaterThan(1e6);
    expect(peakBytes).toBeLessThan(1.2 * plannedBytes + 200e6);
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

describe("the table", () => {
  const measured = (name: string, workers: number, rate: number) => ({
    ...{ name, workers, imagesPerSecond: rate, rounds: [rate] },
  });
  const result = {
    settings: {
      model: "resnet8",
      images: { height: 28, width: 28, channels: 1 },
      classes: 10,
      batch: 4,
      precision: "fp32" as const,
      device: "cpu" as const,
      threads: 1,
    },
    device: "a processor",
    steps: 2,
    results: [
      { ...measured("onehour", 1, 100), plannedBytes: 5e6, peakBytes: 6e6 },
      { ...measured("onehour", 2, 150), plannedBytes: 5e6, peakBytes: 6e6 },
      { ...measured("PyTorch 2", 1, 80), peakBytes: 9e6 },
    ],
    ratio: 1.25,
  };

  test("compares the rates to the ideal and to PyTorch's", () => {
    const text = throughputTable(result);
    expect(text).toMatch(/onehour +2 +150\.0 +1\.50× .* █{15}░{5}$/m);
    expect(text).toMatch(/PyTorch 2 +1 +80\.0 +9 MB$/m);
    expect(text).toMatch(/one process each: 1\.25$/m);
  });

  test("shows no speed-up where one worker was not measured", () => {
    const results = result.results.map((row) => ({ ...row, workers: 2 * row.workers }));
    const text = throughputTable({ ...result, results });
    expect(text).toMatch(/onehour +2 +100\.0 +– .* –$/m);
    expect(text).toMatch(/onehour +4 +150\.0 +– .* –$/m);
    expect(text).not.toMatch(/\d\.\d\d×|█/);
    expect(text).toMatch("add 1 to --workers");
  });
});

test("median", () => {
  expect(median([3, 1, 2])).toBe(2);
  expect(median([4, 1, 2, 3])).toBe(2.5);
});
