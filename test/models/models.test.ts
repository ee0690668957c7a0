// Trains and evaluates a network that a script adds to the table, by its name.
import { join } from "node:path";
import { expect, test } from "vitest";
import { network } from "../../lib/models/layers.js";
import { addModel, models } from "../../lib/models/models.js";
import { globalAveragePool } from "../../lib/ops/index.js";
import { readCheckpoint } from "../../lib/run-folder/checkpoint.js";
import { evaluateCheckpoint } from "../../lib/train/evaluate.js";
import { train } from "../../lib/train/train.js";
import { temporaryFolder } from "../support/folder.js";

const folder = temporaryFolder();
const tiny = network((layers, x, { classes }) => {
  const y = layers.convNorm("conv", x, { filters: 8, window: 3, stride: 2 });
  return layers.linear("fc", globalAveragePool(y), classes);
});

test("trains, is resumed and evaluated under its name", async () => {
  addModel("tiny", tiny);
  expect(Object.keys(models)).toContain("tiny");
  const out = join(folder, "tiny");
  const dataset = "synthetic:12x12x1:4:256";
  const recipe = { dataset, model: "tiny", batch: 8, lr: 4, epochs: 4, device: "cpu" } as const;
  await train({ ...recipe, steps: 40, out }, { output: null });
  const { top1, model } = await train({ out, steps: 1000 }, { output: null, resume: true });
  expect(model).toBe("tiny");
  expect(top1).toBeGreaterThan(0.4); // a guess has 0.25
  const { shapes } = await readCheckpoint(join(out, "checkpoint.safetensors"));
  expect(shapes.get("conv.conv.weight")).toEqual([8, 1, 3, 3]);
  expect(shapes.get("fc.weight")).toEqual([4, 8]);
  expect((await evaluateCheckpoint(out, undefined, { device: "cpu" })).top1).toBe(top1);
  const two = train({ ...recipe, workers: 2, out: `${out}2` }, { output: null });
  await expect(two).rejects.toThrow(/"tiny" is the script's own/);
});

test.each([
  ["resnet8", tiny, /there is a network resnet8 already/],
  ["./net.ts", tiny, /letters, digits, - and _, and not "\.\/net\.ts"/],
  ["", tiny, /and not ""/],
  ["other", {}, /the builder of other is a function, and not \{\}/],
])("%j is refused", (name, builder, says) => {
  expect(() => addModel(name, builder as never)).toThrow(says);
});
