// Refuses to accumulate a gradient over micro-batches where the op that computes it cannot add.
import { expect, it } from "vitest";
import { compile } from "../../lib/graph/compile.js";
import type { Value } from "../../lib/graph/graph.js";
import type { Model } from "../../lib/models/model.js";
import { conv2d, globalAveragePool, multiply } from "../../lib/ops/index.js";
import { optionsFor, update } from "./options.js";

it.each([
  [
    "multiplies by",
    [2, 1],
    (x: Value, w: Value) => multiply(x, w),
    "[multiply-backward] cannot add the gradient of w to that of the micro-batch before; give " +
      "its signature the input db?, or train with accumulate = 1",
  ],
  [
    "uses twice",
    [1, 1, 1, 1],
    (x: Value, w: Value) => conv2d(conv2d(x, w), w),
    "w is used more than once, and then its gradient cannot be accumulated over micro-batches; " +
      "use it once, or train with accumulate = 1",
  ],
])("refuses to accumulate the gradient of what a model %s", (_, shape, layer, message) => {
  const model: Model = {
    channels: 1,
    classes: 1,
    build(network, x) {
      const initial = { kind: "constant", value: 1 } as const;
      const w = network.parameter({ name: "w", role: "linear", shape, stored: shape, initial });
      return globalAveragePool(layer(x, w));
    },
  };
  const options = optionsFor(model, { accumulate: 2 });
  expect(() => compile(model, options, update)).toThrow(message);
});
