// Compares precise batch norm to means and variances computed here, however the batches are split.
import { join } from "node:path";
import { expect, test } from "vitest";
import { openDataset } from "../../lib/data/datasets.js";
import { Sampler } from "../../lib/data/sampler.js";
import type { RecipeInput } from "../../lib/recipe/fields.js";
import { resolveRecipe } from "../../lib/recipe/recipe.js";
import { checkpointName, readCheckpoint } from "../../lib/run-folder/checkpoint.js";
import { relativeError } from "../../proof/compare.js";
import { openStored } from "../data/stored.js";
import { stepsOf, temporaryFolder } from "../support/folder.js";
import { parseRecipe } from "../support/recipe.js";
import { small, trained } from "../support/training.js";

const folder = temporaryFolder();
const name = "synthetic:12x12x1:4:96";
const common: RecipeInput = {
  ...small,
  dataset: name,
  batch: 8, // 12 steps an epoch
  epochs: 2,
  seed: 3,
  augment: false,
};

async function run(folderName: string, recipe: RecipeInput, resume = false) {
  const out = join(folder, folderName);
  await trained({ ...recipe, out }, { resume });
  return { out, ...(await readCheckpoint(join(out, checkpointName))) };
}

test("the statistics of the first layer are the mean of the batches'", async () => {
  const batches = 5;
  const { weights } = await run("precise", { ...common, lr: 1, preciseBatchNorm: batches });
  const plain = await run("plain", { ...common, lr: 1 });
  expect(plain.weights.get("conv1.weight")).toEqual(weights.get("conv1.weight"));

  const { train: images, mean, std } = await openStored(name);
  const filters = weights.get("conv1.weight")!; // [16, 1, 3, 3]
  const sampler = new Sampler({ images: 96, workers: 1, accumulate: 1, batch: 8, seed: 3 });
  const pixels = new Uint8Array(144);
  const means = new Float64Array(16);
  const variances = new Float64Array(16);
  for (let i = 0; i < batches; i++) {
    const sums = new Float64Array(16);
    const squares = new Float64Array(16);
    for (const index of sampler.group(12 + i, 0, 0)) {
      images.read(index, pixels, 0);
      for (let at = 0; at < 144; at++)
        for (let k = 0; k < 16; k++) {
          let y = 0;
          for (let r = 0; r < 3; r++)
            for (let s = 0; s < 3; s++) {
              const [row, column] = [Math.floor(at / 12) + r - 1, (at % 12) + s - 1];
              if (row < 0 || row > 11 || column < 0 || column > 11) continue;
              const x = (pixels[row * 12 + column]! / 255 - mean[0]!) / std[0]!;
              y += filters[(k * 3 + r) * 3 + s]! * x;
            }
          sums[k]! += y;
          squares[k]! += y * y;
        }
    }
    const count = 8 * 144;
    for (let k = 0; k < 16; k++) {
      means[k]! += sums[k]! / count / batches;
      variances[k]! += (squares[k]! - sums[k]! ** 2 / count) / (count - 1) / batches;
    }
  }
  expect(relativeError(weights.get("bn1.running_mean")!, means)).toBeLessThan(1e-5);
  expect(relativeError(weights.get("bn1.running_var")!, variances)).toBeLessThan(1e-5);
  expect(relativeError(plain.weights.get("bn1.running_var")!, variances)).toBeGreaterThan(1e-3);
});

test("two workers, or two micro-batches, have those of the same batches", async () => {
  const still = { ...common, lr: 1e-12, epochs: 1 };
  const micro = await run("a2", { ...still, accumulate: 2, preciseBatchNorm: 4 });
  const workers = await run("k2", { ...still, workers: 2, preciseBatchNorm: 2 });
  for (const [tensor, values] of micro.weights) {
    if (!/running_(mean|var)$/.test(tensor)) continue;
    const error = relativeError(workers.weights.get(tensor)!, values);
    expect(error, tensor).toBeLessThan(1e-5);
  }
});

test("a run that was interrupted within an epoch resumes as if it had not been", async () => {
  const recipe = { ...common, preciseBatchNorm: 3 };
  const whole = await run("whole", recipe);
  await run("cut", { ...recipe, steps: 17 });
  const cut = await run("cut", { steps: 24 }, true);
  expect(stepsOf(cut.out)).toEqual(stepsOf(whole.out));
  expect(cut.weights).toEqual(whole.weights);
  expect(cut.momentum).toEqual(whole.momentum);
});

test("more batches than an epoch has are refused", async () => {
  const facts = {
    dataset: await openDataset(name),
    device: { kind: "cpu" } as const,
    models: ["resnet8"],
  };
  const resolve = (input: RecipeInput) =>
    resolveRecipe(parseRecipe({ ...common, ...input }), facts);
  expect(resolve({ workers: 2, accumulate: 2, preciseBatchNorm: 6 }).preciseBatchNorm).toBe(6);
  // The bare flag: 200 are more than there are.
  expect(resolve({ workers: 2, accumulate: 2, preciseBatchNorm: -1 }).preciseBatchNorm).toBe(6);
  expect(() => resolve({ workers: 2, accumulate: 2, preciseBatchNorm: 7 })).toThrow(
    /preciseBatchNorm: .* 6 batches a worker.*expected at most 6/,
  );
});
