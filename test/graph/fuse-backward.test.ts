// Fuses each pattern of back-propagation where the backend has the kernel, and leaves it alone where it
// has not.

import { describe, expect, it } from "vitest";
import { fuse, prune } from "../../lib/graph/fuse.js";
import type { Value } from "../../lib/graph/graph.js";
import { add, conv2d, maxPool, relu } from "../../lib/ops/index.js";
import { commonOps } from "../support/op-book.js";
import { everyOp, keep, type Network, names, network, node, trained } from "./fused.js";

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

  it.each([
    ["shortcut", 1],
    ["shortcut", 2],
    ["main path", 1],
  ])("joins both gradients of a block with a projection, %s first, groups of %i", (first, size) => {
    const group = { communicator: "statistics", size };
    const { g } = trained(({ g, x, norm }) => {
      const conv = (input: Value) => conv2d(input, g.input([8, 1, 1, 8]));
      const [a, b] = [norm(conv(x), { group }), norm(conv(x), { group })];
      const y = relu(first === "shortcut" ? add(b, a) : add(a, b));
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

  it("keeps the gradients apart where the batch norms are of groups of different sizes", () => {
    const { g } = trained(({ x, norm }) =>
      norm(x, {
        relu: true,
        residual: norm(x),
        group: { communicator: "statistics", size: 2 },
      }),
    );
    expect(names(g).filter((op) => op.endsWith("pair"))).toEqual(["batch-norm-apply-pair"]);
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
