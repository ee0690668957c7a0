// Rehearses ImageNet: trains on Fashion-MNIST as a folder of JPEG files.
import { execFileSync } from "node:child_process";
import { copyFileSync, existsSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import type { TensorLayout } from "../../lib/graph/compile.js";
import type { RecipeInput } from "../../lib/recipe/fields.js";
import { formatCheckpoint, readCheckpoint } from "../../lib/run-folder/checkpoint.js";
import { evaluateCheckpoint } from "../../lib/train/evaluate.js";
import { Trainer } from "../../lib/train/own-loop.js";
import { onehour } from "../cli/command.js";
import { logOf, stepsOf, temporaryFolder } from "../support/folder.js";
import { freePort, torchrun } from "../support/process.js";
import { resumed, small, trained } from "../support/training.js";

const folder = temporaryFolder();
const data = join(folder, "images");
const script = join(import.meta.dirname, "../../scripts/make-imagefolder");
const checkpoint = "checkpoint.safetensors";
const common: RecipeInput = {
  ...small,
  dataset: data,
  imageSize: 28,
  batch: 16, // 15 steps an epoch
  epochs: 2,
  lr: 1,
};

const losses = (out: string) => stepsOf(out).map(({ loss }) => loss);

beforeAll(async () => {
  execFileSync(script, [data, "--images", "240"]);
  await trained({ ...common, out: join(folder, "whole") });
});

test("the same run gives the same losses", async () => {
  await trained({ ...common, out: join(folder, "again") });
  const first = losses(join(folder, "whole"));
  expect(losses(join(folder, "again"))).toEqual(first);
  expect(first.length).toBe(30);
});

test("it learns", async () => {
  const out = join(folder, "learnt");
  // So few small images are not learnt from crops of 8 % of them.
  await trained({ ...common, augment: false, epochs: 10, lr: 2, out });
  const epoch = logOf(out).findLast((line) => line.type === "epoch")!;
  expect(epoch.top1).toBeGreaterThan(0.5);
});

test("two workers see the same images in the same groups as one with two micro-batches", async () => {
  const [one, two, half] = ["one", "two", "two-half"].map((name) => join(folder, name));
  await trained({ ...common, batch: 8, accumulate: 2, steps: 15, out: one! });
  await trained({ ...common, batch: 8, workers: 2, steps: 15, out: two! });
  const [first, second] = [losses(one!), losses(two!)];
  expect(second.length).toBe(15);
  for (const [i, loss] of second.entries()) {
    expect(Math.abs(loss - first[i]!)).toBeLessThan(1e-4 * first[i]!);
  }
  await trained({ ...common, batch: 8, workers: 2, steps: 6, out: half! });
  await resumed(half!, { steps: 15 });
  expect(losses(half!)).toEqual(second);
});

test("a checkpoint is evaluated on the folder's validation images, each once", async () => {
  const out = join(folder, "whole");
  const epoch = logOf(out).findLast((line) => line.type === "epoch")!;
  const evaluation = await evaluateCheckpoint(join(out, checkpoint), data, {
    device: "cpu", // the size is the one that was trained on
    threads: 1,
  });
  expect(evaluation).toMatchObject({ images: 40, top1: epoch.top1, top5: epoch.top5 });
  expect(epoch.inputWait).toBeGreaterThanOrEqual(0);
  expect(epoch.inputWait).toBeLessThanOrEqual(1);
});

test("images of another size are tested as the checkpoint's test says, by a resumed run and a loop too", async () => {
  const [out, half] = [join(folder, "sizes"), join(folder, "sizes-half")];
  const recipe = {
    ...common,
    ...{ imageSize: 24, testImageSize: 32, testResize: 33, emaDecay: 0.5, preciseBatchNorm: 2 },
    epochs: 1,
  };
  const { text } = await trained({ ...recipe, out });
  expect(text).toContain("240 training images of 24 × 24 × 3 and 40 test images of 32 × 32 × 3, ");
  await trained({ ...recipe, steps: 4, out: half });
  await resumed(half, { steps: 15 });
  expect(losses(half)).toEqual(losses(out));
  const epochOf = (run: string) => logOf(run).findLast((line) => line.type === "epoch")!;
  const epoch = epochOf(out);
  expect(epochOf(half)).toMatchObject({ testLoss: epoch.testLoss, emaTop1: epoch.emaTop1 });
  await expect(resumed(half, { testResize: 34 })).rejects.toThrow(/testResize is 33 in .*, and 34/);

  const evaluated = (options = {}) =>
    evaluateCheckpoint(out, data, { device: "cpu", threads: 1, ...options });
  const { loss, top1 } = await evaluated();
  expect(top1).toBe(epoch.top1);
  expect(loss).toBeCloseTo(epoch.testLoss as number, 6);
  expect((await evaluated({ ema: true })).top1).toBe(epoch.emaTop1);
  expect((await evaluated({ imageSize: 32 })).loss).toBe(loss); // cut out of as much
  expect((await evaluated({ testResize: 33 })).loss).toBe(loss);
  for (const other of [{ imageSize: 24 }, { testResize: 40 }])
    expect((await evaluated(other)).loss).not.toBe(loss);

  // A recipe that no run can have written is refused.
  const saved = await readCheckpoint(join(out, checkpoint));
  const layouts = [...saved.shapes].map(([name, shape]) => ({ name, shape }) as TensorLayout);
  for (const testResize of [31, "33"]) {
    const file = join(folder, "odd.safetensors");
    const origin = { recipe: { ...saved.recipe, testResize } };
    const pieces = await formatCheckpoint(
      layouts.filter(({ name }) => saved.weights.has(name)),
      { weights: saved.weights },
      saved.position!,
      saved.model!,
      origin,
    );
    writeFileSync(file, Buffer.concat(pieces));
    await expect(evaluateCheckpoint(file, data, { device: "cpu" })).rejects.toMatchObject({
      code: "ERR_ONEHOUR_CHECKPOINT",
      message: expect.stringMatching(/odd\.safetensors: its recipe has testResize: .*expected/),
    });
  }

  using trainer = await Trainer.open(recipe);
  while (trainer.done < trainer.steps) await trainer.step();
  expect(await trainer.evaluate()).toMatchObject({ top1, loss: epoch.testLoss });
});

test("damaged images are replaced alike whatever k, counted and named at the epoch's end", async () => {
  const fixtures = join(import.meta.dirname, "../fixtures/images");
  const damaged = join(folder, "damaged");
  execFileSync(script, [damaged, "--images", "64"]);
  const victim = join(damaged, "train/n00-t-shirt/train_00000001.JPEG");
  expect(existsSync(victim)).toBe(true);
  copyFileSync(join(fixtures, "text.jpg"), victim);
  const recipe = { ...common, dataset: damaged, batch: 8, epochs: 1, accumulate: 2 };
  const [one, two] = [join(folder, "damaged-1"), join(folder, "damaged-2")];
  const { text } = await trained({ ...recipe, out: one });
  expect(text).toContain(`warning: ${victim} cannot be decoded`);
  await trained({ ...recipe, accumulate: 1, workers: 2, out: two });
  for (const [i, loss] of losses(two).entries()) {
    expect(Math.abs(loss - losses(one)[i]!)).toBeLessThan(1e-4 * loss);
  }
  const out = join(folder, "strict");
  await expect(trained({ ...recipe, strict: true, out })).rejects.toMatchObject({
    code: "ERR_ONEHOUR_DATA",
    message: expect.stringContaining("resume: true strict: false"),
  });
  await resumed(out, { strict: false });
  expect(losses(out)).toEqual(losses(one));
});

test("a run resumes where its images were moved, and not with other images there", async () => {
  const [before, after, out] = ["before", "after", "moved"].map((name) => join(folder, name));
  execFileSync(script, [before!, "--images", "64"]);
  await trained({ ...common, dataset: before!, batch: 8, steps: 3, out: out! });
  renameSync(before!, after!);
  await resumed(out!, { dataset: after!, steps: 4 });
  expect(losses(out!).length).toBe(4);
  await expect(resumed(out!, { dataset: data, steps: 5 })).rejects.toMatchObject({
    code: "ERR_ONEHOUR_DATA",
  });
});

// With a machine to itself a rank takes all cores to decode, and fills more batches ahead.
test("ranks that would read ahead differently agree", async () => {
  const out = join(folder, "uneven");
  const port = await freePort();
  const rank = (index: number) => ({
    ...torchrun(index, port),
    ...{ WORLD_SIZE: "3", LOCAL_RANK: undefined, LOCAL_WORLD_SIZE: undefined },
    ...{ ONEHOUR_HOST: index === 0 ? "127.0.0.1" : "127.0.0.2" },
    ONEHOUR_TOKEN: "the same for all",
  });
  const recipe = ["train", data, "--model", "resnet8", "--image-size", "28", "--batch", "2"];
  const flags = ["--steps", "3", "--epochs", "1", "--device", "cpu", "--threads", "1"];
  const ends = [0, 1, 2].map((index) =>
    onehour([...recipe, ...flags, "--out", out], { env: rank(index) }),
  );
  const said = await Promise.all(ends);
  for (const { status, stderr } of said) expect(status, stderr).toBe(0);
  // Rank 0 warns of the network between the hosts.
  expect(said.slice(1).map(({ stderr }) => stderr)).toEqual(["", ""]);
});

test("a run does not resume with other images than it began with", async () => {
  const grown = join(folder, "grown");
  const out = join(folder, "grown-run");
  execFileSync(script, [grown, "--images", "64"]);
  await trained({ ...common, dataset: grown, batch: 8, steps: 3, out });
  copyFileSync(
    join(import.meta.dirname, "../fixtures/images/small.jpg"),
    join(grown, "train/n00-t-shirt/more.jpg"),
  );
  await expect(resumed(out, { steps: 6 })).rejects.toMatchObject({
    code: "ERR_ONEHOUR_DATA",
    message: expect.stringMatching(/are not those of the run's first 3 steps.*init: /),
  });
});
