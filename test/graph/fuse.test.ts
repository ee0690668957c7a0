// Fuses each pattern where the backend has the kernel, and leaves it alone where it has not.

import { describe, expect, it } from "vitest";
import { gradient } from "../../lib/graph/autodiff.js";
import { fuse, prune } from "../../lib/graph/fuse.js";
import { Graph, Storage, type Value } from "../../lib/graph/graph.js";
import { book } from "../../lib/ops/book.js";
import {
  add,
  allReduce,
  type BatchNormOptions,
  conv2d,
  maxPool,
  relu,
} from "../../lib/ops/index.js";
import { commonOps } from "../support/op-book.js";
import { normOf } from "./options.js";

const everyOp: ReadonlySet<string> = new Set(book.keys());
const names = (g: Graph) => g.nodes.map(({ op }) => op.name);
const node = (g: Graph, op: string, which = 0) => g.nodes.filter((n) => n.op.name === op)[which]!;

/** Marks values as results, which nothing may remove. */
function keep(...values: Value[]): void {
  for (const { storage } of values) storage.arena = "output";
}

interface Network {
  g: Graph;
  x: Value;
  norm: (x: Value, options?: Partial<BatchNormOptions>) => Value;
}

function network(channels = 8): Network {
  const g = new Graph();
  const x = g.input([2, 4, 4, channels]);
  return { g, x, norm: (x, options) => normOf(g, x, options).y };
}

/** Builds, differentiates with respect to x, fuses. */
function trained(
  build: (n: Network) => Value,
  has = commonOps,
  channels = 8,
): { g: Graph; x: Value; dy: Value } {
  const n = network(channels);
  const y = build(n);
  const dy = n.g.input(y.shape);
  const [dx] = gradient(n.g, y, dy, [n.x]);
  keep(y, dx!);
  fuse(n.g, has);
  prune(n.g);
  return { g: n.g, x: n.x, dy };
}

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
      mean: finalize[0]!.mean,
      x2: x,
      mean2: finalize[1]!.mean,
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
      expect(node(g, "batch-norm-apply", 1).inputs.residual).toBe(b);
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

describe("backward", () => {
  it("recomputes the mask from x in both passes without a residual: y is not read", () => {
    const { g, x, dy } = trained(({ x, norm }) => norm(x, { relu: true }));
    const [reduce, backward] = g.nodes.slice(-2);
    expect([reduce!.op.name, backward!.op.name]).toEqual([
      "batch-norm-reduce",
      "batch-norm-backward",
    ]);
    expect(reduce!.attributes.relu).toBe(1);
    expect(Object.keys(reduce!.outputs)).toEqual(["sums", "dgamma", "dbeta"]);
    expect(reduce!.inputs).toMatchObject({ dy, x });
    expect(reduce!.inputs.y).toBeUndefined();
    expect(reduce!.inputs.gamma).toBe(node(g, "batch-norm-apply").inputs.gamma);
    expect(backward!.attributes.relu).toBe(1);
    expect(backward!.inputs).toMatchObject({ dz: dy, x, beta: reduce!.inputs.beta });
  });

  it("masks by a bit an element and writes dz for the other path with a residual", () => {
    const { g } = trained(({ x, norm }) => norm(relu(x), { relu: true, residual: x }));
    const reduce = node(g, "batch-norm-reduce");
    const { mask } = node(g, "batch-norm-apply").outputs;
    expect(reduce.inputs.mask).toBe(mask);
    expect(mask).toMatchObject({ dtype: "u8", shape: [2, 4, 4, 2] }); // 4 elements of f32 a byte
    expect(mask!.storage.bytes).toBe(64);
    expect(reduce.inputs.y).toBeUndefined();
    expect(reduce.attributes.relu).toBe(1);
    const backward = node(g, "batch-norm-backward");
    expect(backward.attributes.relu).toBe(0);
    expect(backward.inputs.dz).toBe(reduce.outputs.dz);
    expect(node(g, "add").inputs).toMatchObject({ a: reduce.outputs.dz! });
    expect(names(g).filter((op) => op === "relu-backward")).toHaveLength(1);
  });

  it("masks by y where the channels are not whole bytes of a mask", () => {
    const { g } = trained(
      ({ x, norm }) => norm(relu(x), { relu: true, residual: x }),
      commonOps,
      6,
    );
    expect(node(g, "batch-norm-apply").outputs.mask).toBeUndefined();
    expect(node(g, "batch-norm-reduce").inputs.y).toBe(node(g, "batch-norm-apply").outputs.y);
  });

  it("writes no mask where nothing needs the gradient", () => {
    const { g, x, norm } = network();
    keep(norm(x, { relu: true, residual: x }));
    fuse(g, commonOps);
    prune(g);
    expect(Object.keys(node(g, "batch-norm-apply").outputs)).toEqual(["y"]);
  });

  it("adds gradients that meet before a batch norm in its reduction", () => {
    const { g } = trained(({ g, x, norm }) => {
      const y = norm(x, { relu: true });
      const w = () => g.input([8, 1, 1, 8]);
      return add(conv2d(y, w()), conv2d(y, w()));
    });
    expect(names(g).filter((op) => op === "add")).toHaveLength(1); // forward's
    const reduce = node(g, "batch-norm-reduce");
    expect(reduce.inputs.dy!.node!.op.name).toBe("conv2d-backward-data");
    expect(reduce.inputs.dy2!.node!.op.name).toBe("conv2d-backward-data");
    expect(reduce.inputs.y).toBeUndefined();
    const backward = node(g, "batch-norm-backward");
    expect(backward.inputs.dz).toBe(reduce.outputs.dz);
    expect(backward.attributes.relu).toBe(0);
    expect(backward.inputs.beta).toBeUndefined();
  });

  it("reads each gradient once in a chain of identity blocks", () => {
    const { g } = trained(({ g, x, norm }) => {
      const block = (input: Value) =>
        norm(conv2d(input, g.input([8, 1, 1, 8])), { relu: true, residual: input });
      return block(block(block(x)));
    });
    const backward = names(g).slice(names(g).indexOf("batch-norm-reduce"));
    const block = ["batch-norm-reduce", "batch-norm-backward", "conv2d-backward-data"];
    expect(backward).toEqual([...block, ...block, ...block, "add"]);
    const second = node(g, "batch-norm-reduce", 1);
    expect(second.inputs.dy).toBe(node(g, "batch-norm-reduce").outputs.dz);
    expect(second.inputs.dy2).toBe(node(g, "conv2d-backward-data").outputs.dx);
    expect(second.outputs.dz).toBeDefined();
  });

  const stem = ({ g, x, norm }: Network) => {
    const y = maxPool(norm(x, { relu: true }), { window: 3, stride: 2, padding: 1 });
    const w = () => g.input([8, 1, 1, 8]);
    return add(conv2d(y, w()), conv2d(y, w()));
  };

  it("takes the sums of a pooled batch norm over the maxima, and gathers dx from their gradient", () => {
    const { g, x } = trained(stem, everyOp);
    expect(names(g).slice(-4)).toEqual([
      "conv2d-backward-data",
      "conv2d-backward-data",
      "batch-norm-reduce",
      "batch-norm-backward-max-pool",
    ]);
    expect(names(g).filter((op) => op === "add")).toHaveLength(1); // forward's
    const forward = node(g, "batch-norm-apply-max-pool");
    const reduce = node(g, "batch-norm-reduce");
    expect(reduce.inputs.x).toBe(forward.outputs.maxima);
    expect(reduce.inputs.dy2!.node!.op.name).toBe("conv2d-backward-data");
    expect(reduce.attributes.relu).toBe(1);
    const backward = node(g, "batch-norm-backward-max-pool");
    expect(backward.inputs).toMatchObject({
      x,
      dz: reduce.outputs.dz,
      index: forward.outputs.index,
    });
    expect(backward.inputs.beta).toBeUndefined();
    expect(backward.attributes).toMatchObject({ count: 32, window: [3, 3], stride: [2, 2] });
  });

  it("writes no gradient of the pooled image where nothing masks or adds it", () => {
    const pooled = ({ x, norm }: Network) => maxPool(norm(x), { window: 2, stride: 2 });
    const { g, dy } = trained(pooled, everyOp);
    expect(Object.keys(node(g, "batch-norm-reduce").outputs)).not.toContain("dz");
    expect(node(g, "batch-norm-backward-max-pool").inputs.dz).toBe(dy);
  });

  it("pools forward alone where the backend has no more", () => {
    const { g } = trained(stem);
    expect(names(g).slice(-4)).toEqual([
      "add",
      "max-pool-backward",
      "batch-norm-reduce",
      "batch-norm-backward",
    ]);
    const forward = node(g, "batch-norm-apply-max-pool");
    expect(Object.keys(forward.outputs)).toEqual(["y", "index"]);
  });

  it.each([1, 2])("joins both gradients of a block with a projection, groups of %i", (size) => {
    const group = { communicator: "statistics", size };
    const { g } = trained(({ g, x, norm }) => {
      const conv = (input: Value) => conv2d(input, g.input([8, 1, 1, 8]));
      const shortcut = norm(conv(x), { group });
      const y = norm(conv(x), { relu: true, residual: shortcut, group });
      return add(conv(y), conv(y));
    });
    const backward = names(g).slice(names(g).indexOf("batch-norm-reduce-pair"));
    expect(backward).toEqual([
      "batch-norm-reduce-pair",
      ...(size > 1 ? ["all-reduce", "all-reduce"] : []),
      "batch-norm-backward-pair",
      "conv2d-backward-data",
      "conv2d-backward-data",
      "add",
    ]);
    const apply = node(g, "batch-norm-apply-pair");
    const reduce = node(g, "batch-norm-reduce-pair");
    const { x, mean, x2, mean2 } = apply.inputs;
    expect(reduce.inputs).toMatchObject({ x, mean, x2, mean2, mask: apply.outputs.mask! });
    expect(reduce.inputs.dy2).toBeDefined();
    const { inputs } = node(g, "batch-norm-backward-pair");
    expect(inputs).toMatchObject({ x, mean, x2, mean2, dz: reduce.outputs.dz! });
    const { gamma, gamma2 } = apply.inputs;
    expect(inputs).toMatchObject({ gamma, gamma2 });
    const [sums, sums2] = [0, 1].map((which) => node(g, "all-reduce", which)?.outputs.x);
    expect(inputs.sums).toBe(size > 1 ? sums : reduce.outputs.sums);
    expect(inputs.sums2).toBe(size > 1 ? sums2 : reduce.outputs.sums2);
  });

  it("keeps the gradients apart where something else reads the masked gradient", () => {
    const { g } = trained(({ x, norm }) => {
      const shortcut = add(norm(relu(x)), x);
      return norm(relu(x), { relu: true, residual: shortcut });
    });
    expect(names(g).filter((op) => op.endsWith("pair"))).toEqual([]);
  });

  it("leaves them apart where the backend lacks the kernels", () => {
    const has = new Set([...commonOps].filter((op) => op !== "batch-norm-backward"));
    const { g } = trained(({ x, norm }) => norm(x, { relu: true }), has);
    expect(names(g).slice(-3)).toEqual([
      "relu-backward",
      "batch-norm-reduce",
      "batch-norm-backward",
    ]);
    expect(node(g, "batch-norm-reduce").attributes.relu).toBe(0);
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
