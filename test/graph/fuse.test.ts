// Fuses each pattern of the forward pass where the backend has the kernel, and leaves it alone where it
// has not.

import { describe, expect, it } from "vitest";
import { fuse, prune } from "../../lib/graph/fuse.js";
import { Graph, Storage, type Value } from "../../lib/graph/graph.js";
import { add, allReduce, conv2d, maxPool, relu } from "../../lib/ops/index.js";
import { commonOps } from "../support/op-book.js";
import { everyOp, keep, names, network, node } from "./fused.js";
import { normOf } from "./options.js";

describe("forward", () => {
  it("merges batch norm, addition and ReLU into one pass", () => {
    const { g, x, norm } = network();
    const residual = g.input(x.shape);
    const y = norm(x, { relu: true, residual });
    keep(y);
    fuse(g, commonOps);
    expect(names(g)).toEqual(["batch-norm-statistics", "batch-norm-finalize", "batch-norm-apply"]);
    const apply = node(g, "batch-norm-apply");
    expect(apply.attributes.relu).toBe(1);
    expect(apply.inputs.residual).toBe(residual);
    expect(apply.outputs.y).toBe(y);
    expect(y.node).toBe(apply);
  });

  it("merges them in inference too", () => {
    const { g, x, norm } = network();
    keep(norm(x, { relu: true, residual: x, training: false }));
    fuse(g, commonOps);
    expect(names(g)).toEqual(["batch-norm-inference"]);
  });

  it("leaves them apart where the backend lacks the kernel", () => {
    const { g, x, norm } = network();
    keep(norm(x, { relu: true, residual: g.input(x.shape) }));
    const before = names(g);
    fuse(g, new Set(["relu"]));
    expect(names(g)).toEqual(before);
    expect(before.slice(2)).toEqual(["batch-norm-apply", "add", "relu"]);
  });

  it("leaves them apart where something else reads a value between them", () => {
    const { g, x, norm } = network();
    const between = norm(x);
    keep(relu(between), between);
    fuse(g, commonOps);
    expect(names(g).slice(2)).toEqual(["batch-norm-apply", "relu"]);
  });

  it("makes one pass of two added batch norms", () => {
    const { g, x, norm } = network();
    const [a, b] = [norm(x), norm(x)];
    const y = relu(add(a, b));
    keep(y);
    fuse(g, commonOps);
    expect(names(g).filter((op) => !/statistics|finalize/.test(op))).toEqual([
      "batch-norm-apply-pair",
    ]);
    const pair = node(g, "batch-norm-apply-pair");
    const finalize = [0, 1].map((which) => node(g, "batch-norm-finalize", which).outputs);
    expect(pair.attributes.relu).toBe(1);
    expect(pair.inputs).toMatchObject({
      x,
      mean: finalize[1]!.mean,
      x2: x,
      mean2: finalize[0]!.mean,
    });
    expect(pair.inputs.residual).toBeUndefined();
    expect(pair.outputs.y).toBe(y);
  });

  it.each([
    [
      "the backend lacks the kernel",
      8,
      new Set([...commonOps].filter((op) => !op.endsWith("pair"))),
    ],
    ["the channels are not whole bytes of a mask", 6, commonOps],
  ])(
    "makes one of two added batch norms the residual of the other where %s",
    (_, channels, has) => {
      const { g, x, norm } = network(channels);
      const [a, b] = [norm(x), norm(x)];
      keep(relu(add(a, b)));
      fuse(g, has);
      expect(names(g).filter((op) => !/statistics|finalize/.test(op))).toEqual([
        "batch-norm-apply",
        "batch-norm-apply",
      ]);
      expect(node(g, "batch-norm-apply", 1).inputs.residual).toBe(a);
    },
  );

  it("lets a convolution compute the statistics where the backend can", () => {
    const { g, x, norm } = network();
    keep(norm(conv2d(x, g.input([8, 1, 1, 8]))));
    fuse(g, commonOps);
    expect(names(g).slice(0, 2)).toEqual(["conv2d", "batch-norm-statistics"]);
    fuse(g, everyOp);
    expect(names(g)).toEqual(["conv2d-moments", "batch-norm-apply"]);
    const { inputs, outputs, attributes } = node(g, "conv2d-moments");
    expect(node(g, "batch-norm-apply").inputs).toMatchObject({ x: outputs.y, mean: outputs.mean });
    expect(outputs["running-mean"]!.storage).toBe(inputs["running-mean"]!.storage);
    expect(attributes).toMatchObject({ padding: [0, 0], decay: 0.9, gain: 0.1 });
  });

  it("finalizes statistics with them where no other rank adds to them", () => {
    const alone = network();
    keep(alone.norm(alone.x));
    fuse(alone.g, everyOp);
    expect(names(alone.g)).toEqual(["batch-norm-moments", "batch-norm-apply"]);
    const { g, x, norm } = network();
    keep(norm(conv2d(x, g.input([8, 1, 1, 8])), { group: { communicator: "c", size: 2 } }));
    fuse(g, everyOp);
    expect(names(g)).toEqual([
      "conv2d-statistics",
      "all-gather",
      "batch-norm-finalize",
      "batch-norm-apply",
    ]);
  });

  it("leaves running statistics that batch norms share in their order", () => {
    const { g, x } = network();
    const [b, a] = [1, 2].map(() => conv2d(x, g.input([8, 1, 1, 8]))) as [Value, Value];
    const shared = { runningMean: g.input([8]), runningVariance: g.input([8]) };
    keep(normOf(g, a, shared).y, normOf(g, b, shared).y);
    fuse(g, everyOp);
    const finalize = g.nodes.filter(({ op }) => op.name === "batch-norm-finalize");
    expect(finalize.map(({ inputs }) => inputs.statistics!.node!.outputs.y)).toEqual([a, b]);
  });

  it("pools a batch norm in the pass that applies it", () => {
    for (const training of [true, false]) {
      const { g, x, norm } = network();
      const y = maxPool(norm(x, { relu: true, training }), { window: 3, stride: 2, padding: 1 });
      keep(y);
      fuse(g, everyOp);
      prune(g);
      const op = training ? "batch-norm-apply-max-pool" : "batch-norm-inference-max-pool";
      expect(names(g)).toEqual(training ? ["batch-norm-moments", op] : [op]);
      expect(node(g, op).attributes).toMatchObject({ relu: 1, window: [3, 3], padding: [1, 1] });
      expect(node(g, op).inputs.x).toBe(x);
      expect(node(g, op).outputs).toEqual({ y });
    }
  });

  it.each(["a residual", "another reader"])("pools it apart where there is %s", (reason) => {
    const { g, x, norm } = network();
    const residual = reason === "a residual" ? { residual: x } : {};
    const image = norm(x, { relu: true, ...residual });
    keep(maxPool(image, { window: 2, stride: 2 }));
    if (reason === "another reader") keep(relu(image));
    fuse(g, everyOp);
    expect(names(g)).toContain("batch-norm-apply");
    expect(names(g)).toContain("max-pool");
  });

  it("removes a copy that is only made to be overwritten", () => {
    const g = new Graph();
    const x = g.input([4]);
    const sum = allReduce(relu(x), { communicator: "c" });
    keep(sum);
    fuse(g, commonOps);
    expect(names(g)).toEqual(["relu", "all-reduce"]);
    expect(g.nodes[0]!.outputs.y!.storage).toBe(sum.storage);
  });

  it("keeps a copy of what is needed later", () => {
    const g = new Graph();
    const x = g.input([4]);
    const h = relu(x);
    keep(add(allReduce(h, { communicator: "c" }), h), allReduce(x, { communicator: "c" }));
    fuse(g, commonOps);
    expect(names(g).filter((op) => op === "copy")).toHaveLength(2);
  });
});

describe("prune", () => {
  it("drops what nobody reads: nodes, and outputs that may be absent", () => {
    const g = new Graph();
    const x = g.input([1, 4, 4, 8]);
    const y = maxPool(x, { window: 2, stride: 2 });
    relu(y);
    keep(y);
    prune(g);
    expect(names(g)).toEqual(["max-pool"]);
    expect(Object.keys(g.nodes[0]!.outputs)).toEqual(["y"]);
  });

  it("keeps what lies in an arena", () => {
    const g = new Graph();
    const y = relu(g.input([4]));
    y.storage = new Storage(16, "grad", 0);
    prune(g);
    expect(names(g)).toEqual(["relu"]);
  });
});
