// Warns of an old driver before the first step.
import { expect, test } from "vitest";
import { describeDriver } from "../../lib/train/describe.js";

const recipe = { workers: 8, syncBatchNorm: -1, cudaGraph: true };

test.each(["11.8", "12.4", "12.8"])("warns of a driver for CUDA %s", (driver) => {
  const line = describeDriver(recipe, { driver });
  expect(line).toMatch(`the driver serves CUDA ${driver}, and before 12.9`);
  expect(line).toContain("cudaGraph: false");
});

test.each([
  ["a newer driver", recipe, "12.9"],
  ["one of a later major version", recipe, "13.0"],
  ["the CPU", recipe, undefined],
  ["one worker", { ...recipe, workers: 1 }, "12.4"],
  ["statistics of each worker's own", { ...recipe, syncBatchNorm: 0 }, "12.4"],
  ["kernels that are started one by one", { ...recipe, cudaGraph: false }, "12.4"],
])("does not warn of %s", (_, options, driver) => {
  expect(describeDriver(options, { driver })).toBeUndefined();
});
