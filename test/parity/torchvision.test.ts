// Loads weights in torchvision's and timm's format, as they are, and compares the logits to those
// of torch.nn modules. The fixture holds names, shapes and logits; weights come from the generator.
import { createWriteStream, readFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { beforeAll, expect, it } from "vitest";
import { checkpointName, readCheckpoint } from "../../lib/run-folder/checkpoint.js";
import { requireModelWeights } from "../../lib/run-folder/model-weights.js";
import { parseSafetensors } from "../../lib/run-folder/safetensors.js";
import { evaluateCheckpoint } from "../../lib/train/evaluate.js";
import { writeWeights } from "../../lib/train/state.js";
import { dot, norm } from "../../proof/compare.js";
import { draw, TestNetwork } from "../../proof/network.js";
import { lookup, readFixture } from "../../proof/ops/fixtures.js";
import { headOf } from "../run-folder/layout.js";
import { device } from "../support/device.js";
import { temporaryFolder } from "../support/folder.js";
import { trained } from "../support/training.js";

const fixture = new URL("../fixtures/torchvision-resnet50.safetensors", import.meta.url).pathname;
const { metadata } = parseSafetensors(fixture, readFileSync(fixture));
const shapes = Object.entries(JSON.parse(metadata.shapes!) as Record<string, number[]>);
const elements = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

const folder = temporaryFolder();
const file = join(folder, "resnet50.safetensors");

/** The values of scripts/oracle-torchvision.py. */
function valuesOf(name: string, shape: readonly number[]): Float32Array {
  const fill = (f: (u: number) => number) => draw(name, elements(shape), f);
  if (name.endsWith("running_mean")) return fill((u) => 0.2 * (u - 0.5));
  if (name.endsWith("running_var")) return fill((u) => 0.5 + u);
  if (/^(fc|classifier)\./.test(name) || shape.length === 4) {
    const bound = Math.sqrt(6 / (shape.length > 1 ? elements(shape.slice(1)) : 1000));
    return fill((u) => (2 * u - 1) * bound);
  }
  return fill(name.endsWith("bias") ? (u) => u - 0.5 : (u) => 0.5 + 0.5 * u);
}

/** The bytes of the file: a state dict of a model that a trainer wraps, counters and all. */
function* bytesOf(): Generator<Buffer> {
  const isCounter = (name: string) => name.endsWith("num_batches_tracked");
  const header: Record<string, unknown> = { __metadata__: { format: "pt" } };
  let at = 0;
  for (const [name, shape] of shapes) {
    const begin = at;
    at += isCounter(name) ? 8 : 4 * elements(shape);
    const dtype = isCounter(name) ? "I64" : "F32";
    header[`model.module.${name}`] = { dtype, shape, data_offsets: [begin, at] };
  }
  yield headOf(header);
  for (const [name, shape] of shapes)
    yield isCounter(name) ? Buffer.alloc(8, 1) : Buffer.from(valuesOf(name, shape).buffer);
}

beforeAll(() => pipeline(Readable.from(bytesOf()), createWriteStream(file)));

it("the logits are those of torch.nn's modules", async () => {
  const network = await TestNetwork.load(device, "resnet50", 2);
  try {
    const { compiled, executor } = network;
    const checkpoint = await readCheckpoint(file);
    const layouts = [...compiled.parameters, ...compiled.statistics];
    expect(shapes.filter(([name]) => !name.endsWith("tracked")).length).toBe(layouts.length);
    requireModelWeights(file, checkpoint, layouts, "resnet50");
    await writeWeights(executor, compiled, checkpoint);
    await network.run("evaluate", 0);
    const logits = await network.operand("evaluate", "softmax-cross-entropy", "logits");
    const { data } = lookup(readFixture("torchvision-resnet50"))("logits");
    expect(logits.length).toBe(2000);
    const farthest = logits.reduce((most, x, i) => Math.max(most, Math.abs(x - data[i]!)), 0);
    expect(farthest).toBeLessThan(1e-3);
  } finally {
    network.dispose();
  }
});

it.each(["resnext50_32x4d", "wide_resnet50_2", "vgg11_bn"] as const)(
  "the logits of %s are those of torch.nn's modules",
  async (name) => {
    const fixture = new URL(`../fixtures/torchvision-${name}.safetensors`, import.meta.url)
      .pathname;
    const { metadata } = parseSafetensors(fixture, readFileSync(fixture));
    const shapes = JSON.parse(metadata.shapes!) as Record<string, number[]>;
    const network = await TestNetwork.load(device, name, 2);
    try {
      const { compiled, executor } = network;
      const layouts = [...compiled.parameters, ...compiled.statistics];
      const stored = Object.entries(shapes).filter(([key]) => !key.endsWith("tracked"));
      expect(Object.fromEntries(layouts.map((layout) => [layout.name, layout.shape]))).toEqual(
        Object.fromEntries(stored),
      );
      const weights = new Map(stored.map(([key, shape]) => [key, valuesOf(key, shape)]));
      await writeWeights(executor, compiled, { weights });
      await network.run("evaluate", 0);
      const logits = await network.operand("evaluate", "softmax-cross-entropy", "logits");
      const { data } = lookup(readFixture(`torchvision-${name}`))("logits");
      expect(logits.length).toBe(2000);
      const farthest = logits.reduce((most, x, i) => Math.max(most, Math.abs(x - data[i]!)), 0);
      expect(farthest).toBeLessThan(1e-3);
    } finally {
      network.dispose();
    }
  },
);

it("evaluation finds the model by itself, and refuses another number of classes", async () => {
  const options = { device: "cpu", threads: 1 } as const;
  const { images } = await evaluateCheckpoint(file, "synthetic:32x32x3:1000:64", options);
  expect(images).toBe(4);
  await expect(evaluateCheckpoint(file, "synthetic:32x32x3:10:64", options)).rejects.toThrow(
    /weights of resnet50 .*fc\.\w+ is \[1000.*have 1000 classes and not its 10.*--init/,
  );
});

it("--init trains a new head on them and keeps the rest", async () => {
  const out = join(folder, "run");
  const recipe = { dataset: "synthetic:32x32x3:10:64", model: "resnet50", batch: 2, steps: 1 };
  const { text } = await trained({ ...recipe, init: file, lr: 1e-9, device: "cpu", out });
  expect(text).toMatch(/has 1000 classes and the data set 10: fc\.\w+ and fc\.\w+ start anew/);
  const { weights, shapes: found } = await readCheckpoint(join(out, checkpointName));
  expect(found.get("fc.weight")).toEqual([10, 2048]);
  const own = valuesOf("layer4.2.conv3.weight", found.get("layer4.2.conv3.weight")!);
  weights.get("layer4.2.conv3.weight")!.forEach((x, i) => {
    if (Math.abs(x - own[i]!) > 1e-6) expect(x).toBeCloseTo(own[i]!, 6);
  });
  // The running variances have made one step of a tenth from the file's, which differ by channel.
  const centred = (values: Float32Array) => {
    const mean = values.reduce((sum, x) => sum + x) / values.length;
    return values.map((x) => x - mean);
  };
  const before = centred(valuesOf("bn1.running_var", [64]));
  const after = centred(weights.get("bn1.running_var")!);
  expect(dot(before, after) / (norm(before) * norm(after))).toBeGreaterThan(0.5);
});
