// Divides gradients into buckets, and orders streams by events.
import { describe, expect, it } from "vitest";
import { Graph, Storage } from "../../lib/graph/graph.js";
import { cutBuckets, type Step, synchronize } from "../../lib/graph/overlap.js";
import { parse } from "../../lib/graph/parse.js";
import { allReduceOp } from "../../lib/ops/collective.js";
import { add, relu } from "../../lib/ops/index.js";
import { compileFor, modelOf } from "./options.js";

const MiB = 1 << 20;

describe("buckets", () => {
  it.each([
    { sizes: [], expected: [] },
    { sizes: [MiB / 2], expected: [1] },
    { sizes: [MiB / 2, MiB / 2, MiB], expected: [2, 1] },
    { sizes: [8 * MiB, 10 * MiB, 10 * MiB, 10 * MiB, 30 * MiB, 1], expected: [1, 2, 1, 1, 1] },
    { sizes: [1, 25 * MiB, 1], expected: [1, 1, 1] },
  ])("$sizes", ({ sizes, expected }) => {
    expect(cutBuckets(sizes)).toEqual(expected);
  });

  it("cover the gradients without gaps, in the order of back-propagation", () => {
    const model = modelOf("resnet50");
    const { buckets, parameters, momentum } = compileFor(model, { workers: 2 });
    let end = 0;
    for (const { offset, bytes } of buckets) {
      expect(offset).toBe(end);
      end += bytes;
    }
    expect(end).toBe(momentum.bytes);
    expect(buckets.flatMap((bucket) => bucket.parameters)).toEqual(parameters.map((p) => p.name));
    expect(parameters[0]!.name).toMatch(/^fc\./);
    expect(parameters.at(-1)!.name).toBe("conv1.weight");
    expect(buckets.length).toBeGreaterThan(4);
    for (const { bytes } of buckets.slice(1)) expect(bytes).toBeLessThanOrEqual(25 * MiB);
  });

  it("are all-reduced while back-propagation goes on, and waited for one by one", () => {
    const model = modelOf("resnet50");
    const compiled = compileFor(model, { workers: 2 });
    const { instructions } = parse(compiled.programs[0]!.text);
    const at = (op: string, stream: string) =>
      instructions.flatMap((i, n) => (i.op === op && i.stream === stream ? [n] : []));
    const reductions = at("all-reduce", "comm");
    const updates = at("sgd", "compute");
    const lastGradient = at("conv2d-backward-weight", "compute").at(-1)!;
    expect(reductions).toHaveLength(compiled.buckets.length);
    expect(updates).toHaveLength(compiled.buckets.length);
    expect(reductions.filter((n) => n < lastGradient).length).toBe(compiled.buckets.length - 1);
    expect(updates[0]).toBeGreaterThan(lastGradient);
    // Each update comes directly after the wait for its own bucket.
    const waits = at("wait", "compute").filter((n) => n > lastGradient);
    expect(updates.map((n) => n - 1)).toEqual(waits);
    // The metrics follow the last bucket.
    const last = instructions[reductions.at(-1)!]!.inputs[0]!;
    expect(last.offset + 4 * last.shape[0]!).toBe(compiled.momentum.bytes + 16);
  });

  it("of one worker are updated without any communication", () => {
    const model = modelOf("resnet50");
    const { programs, buckets } = compileFor(model);
    const { instructions } = parse(programs[0]!.text);
    expect(instructions.filter((i) => i.stream !== "compute")).toEqual([]);
    expect(instructions.filter((i) => i.op === "sgd")).toHaveLength(buckets.length);
    expect(instructions.filter((i) => i.op === "wait" || i.op === "signal")).toEqual([]);
  });
});

describe("events", () => {
  const text = (steps: Step[]) =>
    steps.map((s) => `${s.stream} ${s.kind === "node" ? s.node.op.name : `${s.kind} ${s.event}`}`);
  const reduce = (g: Graph, x: ReturnType<Graph["input"]>) =>
    g.apply(allReduceOp, { x }, { communicator: "c" }, { stream: "comm" }).x;

  it("go there and back where a value does", () => {
    const g = new Graph();
    const sum = reduce(g, relu(g.input([4])));
    relu(g.input([4]));
    relu(sum);
    expect(text(synchronize(g.nodes))).toEqual([
      "compute relu",
      "compute signal 0",
      "comm wait 0",
      "comm all-reduce",
      "comm signal 1",
      "compute relu",
      "compute wait 1",
      "compute relu",
    ]);
  });

  it("are not repeated where an earlier one says enough", () => {
    const g = new Graph();
    const [a, b] = [relu(g.input([4])), relu(g.input([4]))];
    const [second, first] = [reduce(g, b), reduce(g, a)];
    add(first, second);
    relu(second);
    expect(text(synchronize(g.nodes)).filter((line) => /signal|wait/.test(line))).toEqual([
      "compute signal 0",
      "comm wait 0",
      "comm signal 1",
      "compute wait 1",
    ]);
  });

  it("order overlapping ranges of an arena", () => {
    const g = new Graph();
    const written = relu(g.input([16]));
    written.storage = new Storage(64, "grad", 64);
    const range = g.leaf([48], "f32", new Storage(192, "grad", 0));
    reduce(g, range);
    expect(text(synchronize(g.nodes))).toContain("comm wait 0");
  });

  it("start other streams after compute, and end them before it", () => {
    const g = new Graph();
    reduce(g, g.leaf([4], "f32", new Storage(16, "state", 0)));
    expect(text(synchronize(g.nodes))).toEqual([
      "compute signal 0",
      "comm wait 0",
      "comm all-reduce",
      "comm signal 1",
      "compute wait 1",
    ]);
  });
});
