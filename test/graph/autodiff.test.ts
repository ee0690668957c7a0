// The structure of the backward pass: which ops, in which order, and where gradients meet.
import { describe, expect, it } from "vitest";
import { gradient } from "../../lib/graph/autodiff.js";
import { defineOp, Graph, type Value } from "../../lib/graph/graph.js";
import {
  add,
  conv2d,
  globalAveragePool,
  linear,
  maxPool,
  relu,
  softmaxCrossEntropy,
} from "../../lib/ops/index.js";
import { normOf } from "./options.js";

const names = (g: Graph, from = 0) => g.nodes.slice(from).map(({ op }) => op.name);

function backward(
  g: Graph,
  y: Value,
  values: Value[],
  dy: Value | undefined = g.input(y.shape, y.dtype),
) {
  const from = g.nodes.length;
  const gradients = gradient(g, y, dy, values);
  return { gradients, ops: names(g, from) };
}

describe("gradient", () => {
  it("of a convolution: the weight first, then the data", () => {
    const g = new Graph();
    const [x, w] = [g.input([2, 8, 8, 4], "bf16"), g.input([16, 3, 3, 4], "bf16")];
    const { ops, gradients } = backward(g, conv2d(x, w, { padding: 1 }), [x, w]);
    expect(ops).toEqual(["conv2d-backward-weight", "conv2d-backward-data"]);
    expect(gradients.map(({ shape, dtype }) => [shape, dtype])).toEqual([
      [x.shape, "bf16"],
      [w.shape, "f32"],
    ]);
  });

  it("computes nothing that is not asked for", () => {
    const g = new Graph();
    const [x, w] = [g.input([2, 8, 8, 4]), g.input([16, 3, 3, 4])];
    const { ops } = backward(g, conv2d(x, w), [w]);
    expect(ops).toEqual(["conv2d-backward-weight"]);
  });

  it("sums the gradients of a value that is used twice", () => {
    const g = new Graph();
    const x = g.input([3]);
    const h = relu(x);
    const { ops, gradients } = backward(g, add(relu(h), h), [x]);
    expect(ops).toEqual(["relu-backward", "add", "relu-backward"]);
    const last = g.nodes.at(-1)!;
    expect(last.inputs.y).toBe(h);
    expect(gradients[0]).toBe(last.outputs.dx);
  });

  it("of x + x is the sum of both", () => {
    const g = new Graph();
    const x = g.input([3]);
    const dy = g.input([3]);
    const { gradients } = backward(g, add(x, x), [x], dy);
    expect(gradients[0]!.node!.op.name).toBe("add");
    expect(gradients[0]!.node!.inputs).toMatchObject({ a: dy, b: dy });
  });

  it("of batch norm goes through its statistics, counted over the group", () => {
    const g = new Graph();
    const x = g.input([2, 4, 4, 8]);
    const alone = normOf(g, x);
    expect(backward(g, alone.y, [x, alone.gamma, alone.beta]).ops).toEqual([
      "batch-norm-reduce",
      "batch-norm-backward",
    ]);
    expect(g.nodes.at(-1)!.attributes.count).toBe(2 * 4 * 4);

    const group = { communicator: "statistics", size: 4 };
    const together = normOf(g, x, { group });
    const { ops, gradients } = backward(g, together.y, [x, together.gamma]);
    expect(ops).toEqual(["batch-norm-reduce", "all-reduce", "batch-norm-backward"]);
    expect(g.nodes.at(-1)!.attributes.count).toBe(4 * 2 * 4 * 4);
    expect(g.nodes.at(-2)!.stream).toBe("statistics");
    // dγ stays local: its bucket sums it.
    expect(gradients[1]!.node!.op.name).toBe("batch-norm-reduce");
  });

  it("of a classifier starts from its loss, in the type of the activations", () => {
    const g = new Graph();
    const x = g.input([2, 4, 4, 8], "bf16");
    const [w, b] = [g.input([10, 8], "bf16"), g.input([10])];
    const pooled = globalAveragePool(maxPool(x, { window: 2, stride: 2 }));
    const { metrics } = softmaxCrossEntropy(linear(pooled, w, b), g.input([2], "i32"));
    const from = g.nodes.length;
    const [dx, dw, db] = gradient(g, metrics, undefined, [x, w, b]);
    expect(names(g, from)).toEqual([
      "softmax-cross-entropy-backward",
      "linear-backward-weight",
      "linear-backward-data",
      "global-average-pool-backward",
      "max-pool-backward",
    ]);
    expect(g.nodes[from]!.outputs.dlogits!.dtype).toBe("bf16");
    expect([dx, dw, db].map((d) => d!.dtype)).toEqual(["bf16", "f32", "f32"]);
    expect(dx!.shape).toEqual(x.shape);
  });

  it("keeps the label of the layer", () => {
    const g = new Graph();
    const [x, w] = [g.input([2, 8, 8, 4]), g.input([16, 3, 3, 4])];
    const y = g.within("layer1.0.conv1", () => conv2d(x, w));
    backward(g, y, [w]);
    expect(g.nodes.at(-1)!.label).toBe("layer1.0.conv1");
  });

  it("refuses a value that does not matter, and an op without a rule", () => {
    const g = new Graph();
    const [x, other] = [g.input([2, 4, 4, 8]), g.input([3])];
    expect(() => backward(g, relu(x), [x, other])).toThrow(/does not depend on f32\[3\]/);
    const { y } = normOf(g, x, { training: false });
    expect(() => backward(g, y, [x])).toThrow(/\[batch-norm-inference\] has no gradient/);
  });

  it.each([
    ["da", "[weigh-da] returns a gradient of da; expected names of its inputs: x, a"],
    ["x", "[weigh-x] returns no gradient of its input a"],
  ])("names the op whose rule gives a gradient of %s alone", (given, message) => {
    const weigh = defineOp<"y">({
      name: `weigh-${given}`,
      signature: "x:T[...] a:T[...] -> y:T[...]",
      gradient: (_, { y: dy }) => ({ [given]: dy }),
    });
    const g = new Graph();
    const [x, a] = [g.input([3]), g.input([3])];
    expect(() => backward(g, g.apply(weigh, { x, a }).y, [x, a])).toThrow(message);
  });
});
