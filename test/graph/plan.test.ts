// The memory plan: close to the lower bound for real models, right in small cases made by hand.
import { describe, expect, it } from "vitest";
import { Graph } from "../../lib/graph/graph.js";
import { synchronize } from "../../lib/graph/overlap.js";
import { plan } from "../../lib/graph/plan.js";
import { batchNormBackward } from "../../lib/ops/batch-norm.js";
import { allReduceOp } from "../../lib/ops/collective.js";
import { cast, relu, scale } from "../../lib/ops/index.js";
import { compileFor, modelOf } from "./options.js";

describe("a plan within 2 % of the lower bound", () => {
  it.each([
    { name: "resnet50", batch: 16 },
    { name: "resnet50", batch: 1 },
    { name: "resnet50", batch: 32, precision: "bf16" as const },
    { name: "resnet50", batch: 16, workers: 8, syncBatchNorm: 8, accumulate: 2 },
    { name: "resnet18", batch: 7 },
    { name: "resnet152", batch: 16 },
    { name: "resnet8", batch: 32 },
    { name: "resnet56", batch: 128, precision: "bf16" as const },
  ])("$name, $batch images, $precision", ({ name, ...changes }) => {
    const model = modelOf(name);
    const { memory } = compileFor(model, changes);
    expect(memory.temporaryLowerBound).toBeGreaterThan(0);
    expect(memory.arenas.temp! / memory.temporaryLowerBound).toBeLessThanOrEqual(1.02);
  });

  it("where ResNet-50 must keep two tensors a convolution for its gradient", () => {
    const model = modelOf("resnet50");
    const { memory } = compileFor(model, { batch: 16, channelMultiple: 1 });
    // Bytes of all convolutions' results and of their normalised form, for 16 images in f32: 11.1
    // million elements an image each, but for the block ends' and the stem's normalised ones.
    const perImage = memory.arenas.temp! / 16 / 4;
    expect(perImage).toBeGreaterThan(2 * 9e6);
    expect(perImage).toBeLessThan(2 * 11.2e6);
  });
});

describe("plan", () => {
  const KiB = 1024;
  const vector = 256; // f32 elements: 1 KiB

  it("holds two values at a time in a chain", () => {
    const g = new Graph();
    let x = cast(g.input([vector]), "f32");
    for (let i = 0; i < 5; i++) x = cast(x, "f32");
    const { bytes, lowerBound, offsets } = plan(synchronize(g.nodes));
    expect(bytes).toBe(2 * KiB);
    expect(lowerBound).toBe(2 * KiB);
    expect(offsets.size).toBe(6);
    const apart = plan(synchronize(g.nodes), false);
    expect(apart.bytes).toBe(6 * KiB);
    expect(new Set(apart.offsets.values()).size).toBe(6);
  });

  it("overwrites an input where the op may and nothing reads it afterwards", () => {
    const g = new Graph();
    const x = relu(g.input([vector]));
    const y = scale(scale(x, 2), 3);
    const { bytes, offsets } = plan(synchronize(g.nodes));
    expect(bytes).toBe(KiB);
    expect(offsets.get(y.storage)).toBe(offsets.get(x.storage));

    const kept = new Graph();
    const a = relu(kept.input([vector]));
    const b = scale(a, 2);
    relu(a);
    const { offsets: apart } = plan(synchronize(kept.nodes));
    expect(apart.get(b.storage)).not.toBe(apart.get(a.storage));
  });

  it("puts dx of batch norm in the place of dz, not of x", () => {
    const g = new Graph();
    const image = () => relu(g.input([1, 4, 4, 16]));
    const [dz, x] = [image(), image()];
    const vectors = Object.fromEntries(
      ["mean", "inverse-std", "gamma"].map((name) => [name, g.input([16])]),
    );
    const { dx } = g.apply(
      batchNormBackward,
      { dz, x, ...vectors, sums: g.input([32]) },
      { relu: 0, count: 16 },
    );
    const { offsets, bytes } = plan(synchronize(g.nodes));
    expect(bytes).toBe(2 * KiB);
    expect(offsets.get(dx.storage)).toBe(offsets.get(dz.storage));
    expect(offsets.get(dx.storage)).not.toBe(offsets.get(x.storage));
  });

  it("does not reuse bytes that another stream reads before waiting for it", () => {
    const g = new Graph();
    const sent = relu(g.input([vector]));
    const sum = g.apply(
      allReduceOp,
      { x: sent },
      { communicator: "statistics" },
      { stream: "statistics" },
    ).x;
    // Runs while the all-reduce may still be in progress.
    const meanwhile = relu(relu(g.input([vector])));
    relu(sum);
    const later = relu(relu(g.input([vector])));
    const { offsets } = plan(synchronize(g.nodes));
    const at = (value: { storage: typeof sent.storage }) => offsets.get(value.storage);
    expect(at(meanwhile)).not.toBe(at(sent));
    expect(at(meanwhile.node!.inputs.x!)).not.toBe(at(sent));
    expect([at(later), at(later.node!.inputs.x!)]).toContain(at(sent));
  });

  it("starts every value at a multiple of 64 bytes", () => {
    const g = new Graph();
    for (const n of [1, 3, 17, 100]) relu(relu(g.input([n])));
    const { offsets, bytes } = plan(synchronize(g.nodes));
    for (const offset of offsets.values()) expect(offset % 64).toBe(0);
    expect(bytes % 64).toBe(0);
  });
});
