// The recipes of the package: what each file says of itself, and the rates and averages of their sources.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { readRecipe, recipeNames } from "../../lib/cli/recipe.js";
import type { Dataset } from "../../lib/data/dataset.js";
import { withDefaults } from "../../lib/recipe/fields.js";
import { resolveRecipe } from "../../lib/recipe/recipe.js";
import { schedules } from "../../lib/schedules/index.js";
import { scheduleOf } from "../../lib/schedules/schedule.js";
import { temporaryFolder, writeFiles } from "../support/folder.js";

const folder = temporaryFolder();
const root = join(import.meta.dirname, "../..");
const names = readdirSync(join(root, "recipes"))
  .map((file) => file.replace(/\.json$/, ""))
  .sort();

/** What a recipe resolves to asks no more of ImageNet. */
const imagenet = {
  name: "/data/imagenet",
  images: { height: 224, width: 224, channels: 3 },
  train: { length: 1_281_167 },
  defaultEpochs: 90,
} as Dataset;

/** A recipe of the package on ImageNet, on k workers. */
async function resolved(name: string, workers: number) {
  const partial = withDefaults({ ...(await readRecipe(name)), workers });
  return resolveRecipe(partial, { dataset: imagenet, device: { kind: "cuda" } });
}

/** The rates of its steps, and the number of these. */
async function rates(name: string, workers: number) {
  const recipe = await resolved(name, workers);
  const minibatch = recipe.workers * recipe.accumulate * recipe.batch;
  const stepsPerEpoch = Math.floor(imagenet.train.length / minibatch);
  const build = schedules[recipe.lrSchedule as keyof typeof schedules];
  const rate = build(scheduleOf(recipe, { minibatch, stepsPerEpoch }));
  return { rate, stepsPerEpoch, steps: recipe.epochs * stepsPerEpoch };
}

test("each names its source and what accuracy to expect, and the page has it too", async () => {
  expect(recipeNames()).toEqual(names);
  expect(names).toContain("goyal-2017");
  const page = readFileSync(join(root, "docs/imagenet.md"), "utf8");
  for (const name of names) {
    const file = JSON.parse(readFileSync(join(root, "recipes", `${name}.json`), "utf8"));
    expect(file.source, name).toMatch(/\b20\d\d\b/);
    expect(file.expected, name).toMatch(/top-1 accuracy .*\d\d\.\d+ %/);
    expect(await readRecipe(name)).not.toHaveProperty("source");
    expect(page).toContain(`| \`${name}\` |`);
  }
});

test("a file of the user's may say so too, and nothing else besides fields", async () => {
  const about = { source: "a note", expected: "much" };
  writeFiles(folder, {
    "own.json": JSON.stringify({ ...about, lr: 0.2 }),
    "other.json": JSON.stringify({ ...about, result: 1 }),
    "list.json": JSON.stringify([about]),
  });
  expect(await readRecipe(join(folder, "own.json"))).toEqual({ lr: 0.2 });
  await expect(readRecipe(join(folder, "other.json"))).rejects.toThrow(/has no field "result"/);
  await expect(readRecipe(join(folder, "list.json"))).rejects.toThrow(/a recipe is an object/);
});

test("goyal-2017: 0.1 at 256 images, 3.2 at 8,192 after five epochs, tenths at 30, 60 and 80", async () => {
  const { rate, stepsPerEpoch: epoch } = await rates("goyal-2017", 256);
  expect([0, 5, 30, 60, 80].map((at) => rate(at * epoch))).toEqual([
    0.1,
    3.2,
    expect.closeTo(0.32),
    expect.closeTo(0.032),
    expect.closeTo(0.0032),
  ]);
});

test("goyal-2017-lars: a parabola from 29 at 32,768 images", async () => {
  const recipe = await resolved("goyal-2017-lars", 1024);
  expect(recipe).toMatchObject({
    ...{ optimizer: "lars", momentumForm: "velocity", momentumCorrection: false, nesterov: false },
    ...{ momentum: 0.9, weightDecay: 5e-4 },
  });
  const { rate, stepsPerEpoch: epoch, steps } = await rates("goyal-2017-lars", 1024);
  expect(rate(5 * epoch)).toBeCloseTo(29);
  expect(rate((5 * epoch + steps) / 2)).toBeCloseTo(29 / 4);
});

test("torchvision-v2: a cosine from 0.5 at 1,024 images, its average's decay, its sizes", async () => {
  const recipe = await resolved("torchvision-v2", 8);
  expect(recipe).toMatchObject({
    ...{ batch: 128, accumulate: 1, epochs: 600, milestones: [], nesterov: false },
    ...{ imageSize: 176, testImageSize: 224, testResize: 232, labelSmoothing: 0.1, emaSteps: 32 },
  });
  // torchvision's train.py: 1 − (1 − 0.99998) · world size · batch · EMA steps / epochs.
  expect(recipe.emaDecay).toBeCloseTo(1 - (2e-5 * 8 * 128 * 32) / 600, 7);
  const { rate, stepsPerEpoch: epoch, steps } = await rates("torchvision-v2", 8);
  expect(rate(5 * epoch)).toBeCloseTo(0.5);
  expect(rate((5 * epoch + steps) / 2)).toBeCloseTo(0.25);
  expect((await resolved("torchvision-v2", 1)).accumulate).toBe(8);
});
