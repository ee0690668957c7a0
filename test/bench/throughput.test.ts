// The arithmetic and the text of `onehour bench throughput`, and what it refuses before it measures.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { median } from "../../lib/arrays/median.js";
import { compare, comparisonTable, readKept } from "../../lib/bench/compare.js";
import { partsOf } from "../../lib/bench/parts.js";
import { profileSchema } from "../../lib/bench/profile.js";
import { profileOf } from "../../lib/bench/profile-of.js";
import { ratioOf } from "../../lib/bench/race.js";
import { scalingOf } from "../../lib/bench/scaling.js";
import { type ThroughputOptions, throughput } from "../../lib/bench/throughput.js";
import { throughputTable } from "../../lib/bench/throughput-table.js";
import { variantOf } from "../../lib/bench/variants.js";
import { parse } from "../../lib/graph/parse.js";
import { requireWritable } from "../../lib/system/writable.js";
import { temporaryFolder } from "../support/folder.js";
import { made, row } from "./throughput-result.js";

const folder = temporaryFolder();

/** A step of two buckets. */
const step = `onehour-program 1
name last
arena param 64
arena grad 64
arena temp 64
compute linear | x=temp+0:f32[2,3] w=param+0:f32[4,3] b=param+0:f32[4] -> y=temp+0:f32[2,4]
compute signal event=0
comm wait event=0
comm all-reduce communicator=gradients | x=grad+0:f32[4] -> x=grad+0:f32[4] # bucket 0
comm signal event=1
compute copy | x=temp+0:f32[4] -> y=temp+16:f32[4]
compute signal event=2
comm wait event=2
comm all-reduce communicator=gradients | x=grad+16:f32[8] -> x=grad+16:f32[8] # bucket 1
comm signal event=3
compute wait event=1
compute copy | x=grad+0:f32[4] -> y=param+0:f32[4]
`;

describe("the programs of a number of workers", () => {
  test("each sums over a communicator of its own", () => {
    const text = variantOf(step, "step", 3);
    expect(text).toMatch(/^name step-3$/m);
    expect(text.replaceAll("gradients-3", "gradients").replace("step-3", "last")).toBe(step);
  });

  test("nothing but the collectives is left out", () => {
    const kept = step.split("\n").filter((line) => !line.includes("all-reduce"));
    expect(variantOf(step, "alone", 3).replace("alone-3", "last")).toBe(kept.join("\n"));
  });

  test("their parts are the update, and when each bucket is complete", () => {
    // Lines of the program without collectives: 6 is linear, 10 and 15 − 1 are the copies.
    const alone = variantOf(step, "alone", 2).split("\n");
    const lines = alone.flatMap((line, i) => (/ copy | linear /.test(line) ? [i + 1] : []));
    const times = new Map(lines.map((line, i) => [line, [30, 5, 1][i]!]));
    const { seconds, update, buckets, operations } = partsOf(parse(step), times);
    expect(seconds).toBeCloseTo(0.036, 9);
    expect(update).toBeCloseTo(0.001, 9);
    expect(buckets.map(({ bytes }) => bytes)).toEqual([16, 32]);
    expect(buckets[0]!.ready).toBeCloseTo(0.03, 9);
    expect(buckets[1]!.ready).toBeCloseTo(0.035, 9);
    expect(operations).toBe(2 * 2 * 3 * 4);
  });
});

describe("the split of a step", () => {
  const parts = [{ seconds: 2, update: 0.5, buckets: [{ bytes: 8, ready: 1 }], operations: 6e9 }];
  const rounds = (...seconds: number[]) =>
    seconds.map((each) => ({ seconds: each, inputWait: 0.2, peakBytes: 1 }));

  test("sums to the step", () => {
    const { stepSeconds, split, buckets, peakShare } = scalingOf({
      ...{ batch: 4, steps: 2, parts, peak: 1e10 },
      step: rounds(2.4, 2, 2.2),
      alone: rounds(1.8, 1.6, 1.6),
    });
    expect(stepSeconds).toBeCloseTo(1.1, 9);
    expect(split.exposedCommunication).toBeCloseTo(0.3, 9);
    expect(split.inputWait).toBeCloseTo(0.1, 9);
    expect(split.update).toBeCloseTo(0.7 / 4, 9);
    expect(split.compute).toBeCloseTo((0.7 * 3) / 4, 9);
    expect(buckets).toEqual([{ bytes: 8, ready: expect.closeTo(0.35, 9) }]);
    expect(peakShare).toBeCloseTo(6e9 / (1.1 * 1e10), 9);
  });

  test("has no communication where one worker has none, and where noise hides it", () => {
    const common = { batch: 4, steps: 1, parts, peak: 1e10, step: rounds(1, 1, 1) };
    const one = scalingOf({ ...common, alone: undefined });
    const noisy = scalingOf({ ...common, alone: rounds(1.1, 1.2, 0.9) });
    for (const { split, stepSeconds } of [one, noisy]) {
      expect(split.exposedCommunication).toBe(0);
      expect(Object.values(split).reduce((a, b) => a + b)).toBeCloseTo(stepSeconds, 9);
    }
  });
});

describe("the table", () => {
  test("compares the rates to the ideal and to PyTorch's, in 80 columns", () => {
    const text = throughputTable(made);
    expect(text).toMatch(/^ +2 +150\.0 +140\.0 – 160\.0 +75\.0 +75\.0 % {2}█{12}░{4}$/m);
    expect(text).toMatch(/^ +2 +53\.3 +70\.0 % +20\.0 % +0\.0 % +10\.0 % +40\.0 % +5 MB +6 MB$/m);
    expect(text).toMatch(/^PyTorch 2 +80\.0 +79\.0 – 81\.0/m);
    expect(text).toMatch(/one process each: 1\.25$/m);
    for (const line of text.split("\n")) expect(line.length).toBeLessThanOrEqual(80);
  });

  test("shows no efficiency where one worker was not measured", () => {
    const text = throughputTable({ ...made, results: [row(2, [100]), row(4, [150])] });
    expect(text).toMatch(/^ +2 +100\.0 .* –$/m);
    expect(text).not.toMatch(/█/);
    expect(text).toMatch("add 1 to --workers");
  });
});

test("the ratio to PyTorch is the median of the rounds' ratios", () => {
  expect(ratioOf(made.results)).toBeCloseTo(1.25, 2);
  expect(ratioOf(made.results.slice(0, 2))).toBeUndefined();
});

test("the profile is that of the smallest number of workers", () => {
  const profile = profileOf(made, 700);
  expect(profileSchema.parse(JSON.parse(JSON.stringify(profile)))).toEqual(profile);
  expect(profile.compute + profile.update).toBeCloseTo(0.8 * 0.04, 9);
  expect(profile.buckets).toEqual(made.results[0]!.scaling!.buckets);
  expect(profile.measured.map(({ workers }) => workers)).toEqual([1, 2]);
  expect(profile.imagesPerCore).toBe(700);
});

describe("a comparison with a result that was kept", () => {
  const keep = (name: string, text: string) => {
    const file = join(folder, name);
    writeFileSync(file, text);
    return file;
  };

  test("tells what changed by more than the rounds differ", async () => {
    const file = keep("old.json", JSON.stringify(made));
    const results = [row(1, [99, 101, 104], 101), row(2, [165, 170, 171], 101), row(4, [300])];
    const comparison = compare({ ...made, results }, await readKept(file), "old.json");
    expect(comparison.changes.map(({ beyondSpread }) => beyondSpread)).toEqual([false, true]);
    const text = comparisonTable(comparison);
    expect(text).toMatch(/^ +1 +100\.0 .* \+1\.0 % {2}within the spread$/m);
    expect(text).toMatch(/^ +2 +150\.0 .* \+13\.3 % {2}faster$/m);
    expect(text).toMatch(/^4 workers: not in old\.json$/m);
    for (const line of text.split("\n")) expect(line.length).toBeLessThanOrEqual(80);
  });

  test("names what keeps the two from being compared", async () => {
    const file = keep("other.json", JSON.stringify(made));
    const settings = { ...made.settings, batch: 8, precision: "bf16" as const, threads: 2 };
    const comparison = compare({ ...made, settings }, await readKept(file), "other.json");
    expect(comparison.changes).toEqual([]);
    const text = comparisonTable(comparison);
    expect(text).toMatch("batch was 4 a worker, is 8 a worker");
    expect(text).toMatch("precision was fp32, is bf16");
    expect(text).toMatch("threads was 1 a worker, is 2 a worker");
    expect(text).not.toMatch("model");
  });

  test.each([
    ["missing.json", undefined, "is not there"],
    ["empty.json", "", "is not JSON"],
    ["half.json", JSON.stringify(made).slice(0, 300), "is not JSON"],
    ["ops.json", '{"settings":{},"lines":[]}', "benchmark"],
    ["null.json", "null", "another thing"],
    ["hurt.json", JSON.stringify({ ...made, results: [{ name: "onehour" }] }), "results.0.workers"],
  ])("refuses %s", async (name, text, problem) => {
    const file = text === undefined ? join(folder, name) : keep(name, text);
    await expect(readKept(file)).rejects.toThrow(problem);
    await expect(readKept(file)).rejects.toThrow("onehour bench throughput --json");
  });
});

describe("refused before anything is started", () => {
  const refused: [string, object, RegExp][] = [
    ["no workers", { workers: [] }, /workers is \[\], expected numbers/],
    ["half a worker", { workers: [1, 1.5] }, /workers is 1\.5, expected a whole number/],
    ["a thousand workers", { workers: [1000] }, /workers is 1000, expected a whole number from 1/],
    ["a batch of nothing", { batch: 0 }, /batch is 0, expected a whole number/],
    ["no steps", { steps: 0 }, /steps is 0, expected a whole number/],
    ["too many threads", { threads: 10_000 }, /threads is 10000/],
    ["an unknown network", { model: "resnet51" }, /resnet51/],
    ["a network that is no name", { model: 5 }, /no model 5\./],
    ["a count that is text", { workers: ["1"] }, /workers is "1", expected a whole number/],
    [
      "a choice that is neither true nor false",
      { strong: "yes" },
      /strong is "yes", expected true or false/,
    ],
    ["an unknown device", { device: "tpu" }, /device is ["']tpu["'], expected one of auto, cpu/],
    ["an unknown option", { worker: 2 }, /no option ["']worker["']/],
    ["a rival without one worker", { workers: [2], against: "pytorch" }, /add 1 to workers/],
    [
      "images that do not divide",
      { workers: [1, 2, 3], batch: 16, strong: true },
      /batch: 16 does not divide among 3 workers.*batch: 18/,
    ],
  ];
  test.each(refused)("%s", async (_name, options, message) => {
    const all = { model: "resnet8", device: "cpu", ...options } as ThroughputOptions;
    await expect(throughput(all)).rejects.toThrow(message);
  });

  test("a file that cannot be written", () => {
    expect(() => requireWritable(folder, "the chart")).toThrow("it is a folder");
    expect(() => requireWritable(join(folder, "no/chart.svg"), "the chart")).toThrow("no folder");
    expect(() => requireWritable("/proc/chart.svg", "the chart")).toThrow(/cannot be written/);
    expect(() => requireWritable(join(folder, "chart.svg"), "the chart")).not.toThrow();
  });
});

test("median", () => {
  expect(median([3, 1, 2])).toBe(2);
  expect(median([4, 1, 2, 3])).toBe(2.5);
});
