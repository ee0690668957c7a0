// Runs `onehour bench throughput` in processes, on so small a model that it takes seconds.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { profileSchema } from "../../lib/bench/profile.js";
import type { ThroughputResult } from "../../lib/bench/throughput.js";
import { onehour } from "../cli/command.js";
import { temporaryFolder } from "../support/folder.js";

const folder = temporaryFolder();

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

test("once its workers have come, nothing of it lies in the temporary folder", async () => {
  const temporary = join(folder, "tmp");
  mkdirSync(temporary);
  let hasBegun = false;
  const isEmpty = () => readdirSync(temporary).length === 0;
  const { signal } = await onehour(
    ["bench", "throughput", ...tiny, "--steps", "100", "--workers", "1,2"],
    {
      env: { TMPDIR: temporary },
      signal: {
        name: "SIGKILL",
        when() {
          hasBegun ||= !isEmpty();
          return hasBegun && isEmpty();
        },
      },
    },
  );
  expect(signal).toBe("SIGKILL");
  expect(isEmpty()).toBe(true);
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

test("--strong divides the images; chart, profile and comparison come with the table", async () => {
  const [chart, kept] = [join(folder, "out.svg"), join(folder, "kept.json")];
  const bench = ["bench", "throughput", ...tiny, "--workers", "2", "--strong"];
  const first = await onehour([...bench, "--json", "--chart", chart]);
  expect(first).toMatchObject({ stderr: "", status: 0 });
  writeFileSync(kept, first.stdout);
  expect((JSON.parse(first.stdout) as ThroughputResult).results[0]!.scaling!.batch).toBe(2);
  expect(readFileSync(chart, "utf8")).toMatch(/^<svg[\s\S]*images\/s[\s\S]*<\/svg>/);
  const file = join(folder, "profile.json");
  const page = join(folder, "out.html");
  const second = await onehour([
    ...[...bench, "--compare", kept, "--profile", file, "--chart", page],
  ]);
  expect(second).toMatchObject({ stderr: "", status: 0 });
  expect(second.stdout).toMatch(/^against .*kept\.json, in images\/s$/m);
  expect(readFileSync(page, "utf8")).toMatch("Where a step's time goes");
  expect(profileSchema.parse(JSON.parse(readFileSync(file, "utf8"))).batch).toBe(2);
});

test("--profile without a file prints the profile alone, of one worker too", async () => {
  const { status, stdout } = await onehour(["bench", "throughput", ...tiny, "--profile"]);
  expect(status).toBe(0);
  const { measured, buckets, compute } = profileSchema.parse(JSON.parse(stdout));
  expect(measured.map(({ workers }) => workers)).toEqual([1]);
  expect(buckets.at(-1)!.ready).toBeLessThanOrEqual(compute);
});

test("files that cannot be meant are refused before anything is measured", async () => {
  for (const [flag, value, problem] of [
    ["--chart", join(folder, "out.png"), "ends in .svg or .html"],
    ["--chart", join(folder, "no/out.svg"), "no folder"],
    ["--profile", folder, "it is a folder"],
    ["--compare", join(folder, "nothing.json"), "is not there"],
  ] as const) {
    const { status, stdout, stderr } = await onehour(["bench", "throughput", flag, value]);
    expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
    expect(stderr).toMatch(problem);
  }
});

test("the example measures and draws", async () => {
  const chart = join(folder, "example.svg");
  const example = fileURLToPath(new URL("../../examples/scaling.ts", import.meta.url));
  const args = ["launch", "--workers", "1", example, "resnet8", "1,2", chart];
  const { status, stdout } = await onehour(args);
  expect(status).toBe(0);
  expect(stdout).toMatch(/^2: [\d.]+ images\/s, efficiency [\d.]+ %/m);
  expect(existsSync(chart)).toBe(true);
});
