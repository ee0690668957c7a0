// VGG with batch norm (Simonyan and Zisserman 2015), names, shapes and layers as torchvision's, but
// without dropout: its classifier trains as it evaluates.
import { OnehourError } from "../errors.js";
import type { Value } from "../graph/graph.js";
import { averagePool, maxPool, relu } from "../ops/index.js";
import { network } from "./layers.js";
import type { ModelBuilder } from "./model.js";

/** Filters of the convolutions between one maximum pooling and the next, five times. */
type Stages = readonly (readonly number[])[];

const stages = (counts: readonly number[]): Stages =>
  counts.map((count, i) => Array(count).fill(Math.min(64 << i, 512)));

const architectures: Readonly<Record<string, Stages>> = {
  vgg11_bn: stages([1, 1, 2, 2, 2]),
  vgg13_bn: stages([2, 2, 2, 2, 2]),
  vgg16_bn: stages([2, 2, 3, 3, 3]),
  vgg19_bn: stages([2, 2, 4, 4, 4]),
};

/** Pixels a side that the classifier takes. */
const SIDE = 7;

/** Means of equal parts, 7 a side. */
function pooled(x: Value): Value {
  const [, H = 0, W = 0] = x.shape;
  if (H % SIDE !== 0 || W % SIDE !== 0)
    throw new OnehourError(
      "ERR_ONEHOUR_SHAPE",
      `VGG's classifier takes ${SIDE}×${SIDE} equal parts of its features, which are ${H}×${W}; take ` +
        "images of a multiple of 224 pixels a side",
    );
  const window = [H / SIDE, W / SIDE] as const;
  return window.every((size) => size === 1) ? x : averagePool(x, { window, stride: window });
}

/** A convolution counts as three layers, with its batch norm and ReLU, and a pooling as one. */
function builder(stages: Stages): ModelBuilder {
  return network((layers, input, { classes }) => {
    const g = input.graph;
    let x = input;
    let layer = 0;
    for (const stage of stages) {
      for (const filters of stage) {
        x = layers.convolution(`features.${layer}`, x, { filters, window: 3, bias: true });
        x = layers.norm(`features.${layer + 1}`, x, { relu: true });
        layer += 3;
      }
      x = g.within(`features.${layer}`, () => maxPool(x, { window: 2, stride: 2 }));
      layer += 1;
    }
    x = g.within("avgpool", () => pooled(x));
    x = relu(layers.linearOfImage("classifier.0", x, 4096));
    x = relu(layers.linear("classifier.3", x, 4096));
    return layers.linear("classifier.6", x, classes);
  });
}

/** Builders by name: vgg11_bn, vgg13_bn, vgg16_bn and vgg19_bn, for images of 224 pixels a side. */
export const vggs: Readonly<Record<string, ModelBuilder>> = Object.fromEntries(
  Object.entries(architectures).map(([name, stages]) => [name, builder(stages)]),
);
