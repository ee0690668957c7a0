// Residual networks: one builder and a table. Names and shapes as torchvision's; stride 2 on the 3×3
// convolution of bottlenecks ("v1.5", paper: training details).
import type { Value } from "../graph/graph.js";
import { globalAveragePool, maxPool } from "../ops/index.js";
import { type Layers, network } from "./layers.js";
import type { ModelBuilder } from "./model.js";

interface Architecture {
  stem: "imagenet" | "small";
  block: "basic" | "bottleneck";
  /** Blocks of each stage, a quarter of their channels out, and filters of their 3×3 convolutions. */
  stages: readonly { blocks: number; filters: number; width: number }[];
  /** Of the 3×3 convolutions. */
  groups: number;
}

/** `widthPerGroup` filters a group in the first stage, as torchvision counts them. */
const imagenet = (
  block: Architecture["block"],
  blocks: readonly number[],
  { groups = 1, widthPerGroup = 64 } = {},
): Architecture => ({
  stem: "imagenet",
  block,
  stages: blocks.map((count, i) => {
    const filters = 64 << i;
    return { blocks: count, filters, width: (filters * widthPerGroup * groups) / 64 };
  }),
  groups,
});

/** Depth 6b + 2: a 3×3 stem and three stages of b basic blocks. */
const small = (b: number): Architecture => ({
  stem: "small",
  block: "basic",
  stages: [16, 32, 64].map((filters) => ({ blocks: b, filters, width: filters })),
  groups: 1,
});

const architectures: Readonly<Record<string, Architecture>> = {
  resnet8: small(1),
  resnet20: small(3),
  resnet32: small(5),
  resnet56: small(9),
  resnet18: imagenet("basic", [2, 2, 2, 2]),
  resnet34: imagenet("basic", [3, 4, 6, 3]),
  resnet50: imagenet("bottleneck", [3, 4, 6, 3]),
  resnet101: imagenet("bottleneck", [3, 4, 23, 3]),
  resnet152: imagenet("bottleneck", [3, 8, 36, 3]),
  resnext50_32x4d: imagenet("bottleneck", [3, 4, 6, 3], { groups: 32, widthPerGroup: 4 }),
  wide_resnet50_2: imagenet("bottleneck", [3, 4, 6, 3], { widthPerGroup: 128 }),
};

/** The last batch norm of each block starts with γ = 0, so that the block starts as identity. */
function block(
  layers: Layers,
  { block: kind, groups }: Architecture,
  name: string,
  x: Value,
  { filters, width, stride }: { filters: number; width: number; stride: number },
): Value {
  const out = kind === "bottleneck" ? 4 * filters : filters;
  // The shortcut comes first, so that its gradient comes last and its input's gradient, larger
  // than its output's, is not kept meanwhile.
  let shortcut = x;
  if (stride !== 1 || x.shape[3] !== out) {
    shortcut = layers.convolution(`${name}.downsample.0`, x, { filters: out, window: 1, stride });
    shortcut = layers.norm(`${name}.downsample.1`, shortcut);
  }
  const convolutions =
    kind === "bottleneck"
      ? [
          { filters: width, window: 1 },
          { filters: width, window: 3, stride, groups },
          { filters: out, window: 1 },
        ]
      : [
          { filters, window: 3, stride },
          { filters, window: 3 },
        ];
  let y = x;
  convolutions.forEach((convolution, i) => {
    const last = i === convolutions.length - 1;
    y = layers.convolution(`${name}.conv${i + 1}`, y, convolution);
    const ending = last ? { residual: shortcut, gamma: 0 } : {};
    y = layers.norm(`${name}.bn${i + 1}`, y, { relu: true, ...ending });
  });
  return y;
}

function builder(architecture: Architecture): ModelBuilder {
  const { stem, stages } = architecture;
  const build = network((layers, input, { classes }) => {
    const filters = stages[0]?.filters ?? 0;
    let x = layers.convolution(
      "conv1",
      input,
      stem === "imagenet" ? { filters, window: 7, stride: 2 } : { filters, window: 3 },
    );
    x = layers.norm("bn1", x, { relu: true });
    const g = x.graph;
    if (stem === "imagenet")
      x = g.within("maxpool", () => maxPool(x, { window: 3, stride: 2, padding: 1 }));
    stages.forEach(({ blocks, filters, width }, stage) => {
      for (let i = 0; i < blocks; i++) {
        const stride = stage > 0 && i === 0 ? 2 : 1;
        x = block(layers, architecture, `layer${stage + 1}.${i}`, x, { filters, width, stride });
      }
    });
    return layers.linear(
      "fc",
      g.within("avgpool", () => globalAveragePool(x)),
      classes,
    );
  });
  return Object.assign(build, { smallImages: stem === "small" });
}

/**
 * Builders by name: resnet18, 34, 50, 101, 152, resnext50_32x4d and wide_resnet50_2 for ImageNet-sized
 * images, resnet8, 20, 32, 56 for small ones.
 */
export const resnets: Readonly<Record<string, ModelBuilder>> = Object.fromEntries(
  Object.entries(architectures).map(([name, architecture]) => [name, builder(architecture)]),
);
