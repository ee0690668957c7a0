// Residual networks: one builder and a table. Names and shapes as torchvision's; stride 2 on the 3×3
// convolution of bottlenecks ("v1.5", paper: training details).
import type { Value } from "../graph/graph.js";
import { globalAveragePool, maxPool } from "../ops/index.js";
import { type Layers, network } from "./layers.js";
import type { ModelBuilder } from "./model.js";

interface Stage {
  blocks: number;
  /** A quarter of a bottleneck's channels out. */
  filters: number;
  /** Filters of the 3×3 convolutions. */
  width: number;
  /** Of the first block. */
  stride: number;
}

interface Architecture {
  /** A convolution, and ImageNet's maximum pooling of 3×3 and stride 2. */
  stem: { filters: number; window: number; stride: number; isPooled: boolean };
  block: "basic" | "bottleneck";
  stages: readonly Stage[];
  /** Of the 3×3 convolutions. */
  groups: number;
}

/** `widthPerGroup` filters a group in the first stage, as torchvision counts them. */
const imagenet = (
  block: Architecture["block"],
  blocks: readonly number[],
  { groups = 1, widthPerGroup = 64 } = {},
): Architecture => ({
  stem: { filters: 64, window: 7, stride: 2, isPooled: true },
  block,
  stages: blocks.map((count, i) => {
    const filters = 64 << i;
    const width = (filters * widthPerGroup * groups) / 64;
    return { blocks: count, filters, width, stride: i > 0 ? 2 : 1 };
  }),
  groups,
});

/** A 3×3 stem, and stages of so many basic blocks. */
const small = (
  stem: { filters: number; stride: number },
  stages: readonly { blocks: number; filters: number; stride: number }[],
): Architecture => ({
  stem: { ...stem, window: 3, isPooled: false },
  block: "basic",
  stages: stages.map((stage) => ({ ...stage, width: stage.filters })),
  groups: 1,
});

/** Those for CIFAR of He et al. 2016, section 4.2, of depth 6b + 2. */
const cifar = (blocks: number): Architecture =>
  small(
    { filters: 16, stride: 1 },
    [16, 32, 64].map((filters, i) => ({ blocks, filters, stride: i > 0 ? 2 : 1 })),
  );

const architectures: Readonly<Record<string, Architecture>> = {
  // A twentieth of resnet8's multiplications, for experiments of many runs.
  resnet6: small({ filters: 8, stride: 2 }, [
    { blocks: 1, filters: 16, stride: 2 },
    { blocks: 1, filters: 32, stride: 2 },
  ]),
  resnet8: cifar(1),
  resnet20: cifar(3),
  resnet32: cifar(5),
  resnet56: cifar(9),
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
    const { isPooled, ...convolution } = stem;
    let x = layers.convolution("conv1", input, convolution);
    x = layers.norm("bn1", x, { relu: true });
    const g = x.graph;
    if (isPooled) x = g.within("maxpool", () => maxPool(x, { window: 3, stride: 2, padding: 1 }));
    stages.forEach(({ blocks, stride, ...stage }, s) => {
      for (let i = 0; i < blocks; i++) {
        const sizes = { ...stage, stride: i === 0 ? stride : 1 };
        x = block(layers, architecture, `layer${s + 1}.${i}`, x, sizes);
      }
    });
    return layers.linear(
      "fc",
      g.within("avgpool", () => globalAveragePool(x)),
      classes,
    );
  });
  return Object.assign(build, { smallImages: !stem.isPooled });
}

/**
 * Builders by name: resnet18, 34, 50, 101, 152, resnext50_32x4d and wide_resnet50_2 for ImageNet-sized
 * images, resnet6, 8, 20, 32, 56 for small ones.
 */
export const resnets: Readonly<Record<string, ModelBuilder>> = Object.fromEntries(
  Object.entries(architectures).map(([name, architecture]) => [name, builder(architecture)]),
);
