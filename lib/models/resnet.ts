// Residual networks: one builder and a table. Names and shapes as torchvision's; stride 2 on the 3×3
// convolution of bottlenecks ("v1.5", paper: training details).
import { OnehourError } from "../errors.js";
import type { Value } from "../graph/graph.js";
import { batchNorm, conv2d, globalAveragePool, linear, maxPool } from "../ops/index.js";
import type { Model, ModelBuilder, Network, ParameterRole } from "./model.js";

interface Architecture {
  stem: "imagenet" | "small";
  block: "basic" | "bottleneck";
  /** Blocks of each stage and filters of its 3×3 convolutions. */
  stages: readonly { blocks: number; filters: number }[];
}

const imagenet = (block: Architecture["block"], blocks: readonly number[]): Architecture => ({
  stem: "imagenet",
  block,
  stages: blocks.map((count, i) => ({ blocks: count, filters: 64 << i })),
});

/** Depth 6b + 2: a 3×3 stem and three stages of b basic blocks. */
const small = (b: number): Architecture => ({
  stem: "small",
  block: "basic",
  stages: [16, 32, 64].map((filters) => ({ blocks: b, filters })),
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
};

/** The layers of a network, each with its parameters. */
class Layers {
  constructor(
    private readonly network: Network,
    private readonly inputChannels: number,
  ) {}

  private parameter(
    name: string,
    role: ParameterRole,
    shape: readonly number[],
    initial: number | { std: number },
    stored = shape,
  ): Value {
    return this.network.parameter({
      name,
      role,
      shape,
      stored,
      initial:
        typeof initial === "number"
          ? { kind: "constant", value: initial }
          : { kind: "normal", std: initial.std },
    });
  }

  /** He-normal by fan-out. The stem's filters cover the padded channels of its input. */
  convolution(name: string, x: Value, filters: number, window: number, stride: number): Value {
    const stored = x.shape[3] ?? 0;
    const channels = name === "conv1" ? this.inputChannels : stored;
    const std = Math.sqrt(2 / (filters * window * window));
    const w = this.parameter(
      `${name}.weight`,
      "convolution",
      [filters, channels, window, window],
      { std },
      [filters, window, window, stored],
    );
    return x.graph.within(name, () => conv2d(x, w, { stride, padding: (window - 1) >> 1 }));
  }

  norm(
    name: string,
    x: Value,
    options: { relu?: boolean; residual?: Value; gamma?: number } = {},
  ): Value {
    const { training, batchNorm: settings } = this.network;
    const { relu = false, residual, gamma = 1 } = options;
    const shape = [x.shape[3] ?? 0];
    const running = (role: "running-mean" | "running-variance", suffix: string, value: number) =>
      this.network.statistic({
        name: `${name}.${suffix}`,
        role,
        shape,
        stored: shape,
        initial: { kind: "constant", value },
      });
    const tensors = {
      gamma: this.parameter(`${name}.weight`, "gamma", shape, gamma),
      beta: this.parameter(`${name}.bias`, "beta", shape, 0),
      runningMean: running("running-mean", "running_mean", 0),
      runningVariance: running("running-variance", "running_var", 1),
    };
    return x.graph.within(name, () =>
      batchNorm(x, { ...tensors, ...settings, training, residual, relu }),
    );
  }

  linear(name: string, x: Value, classes: number): Value {
    const w = this.parameter(`${name}.weight`, "linear", [classes, x.shape[1] ?? 0], { std: 0.01 });
    const b = this.parameter(`${name}.bias`, "bias", [classes], 0);
    return x.graph.within(name, () => linear(x, w, b));
  }

  /** The last batch norm of each block starts with γ = 0, so that the block starts as identity. */
  block(kind: Architecture["block"], name: string, x: Value, filters: number, stride: number) {
    const out = kind === "bottleneck" ? 4 * filters : filters;
    // The shortcut comes first, so that its gradient comes last and its input's gradient, larger
    // than its output's, is not kept meanwhile.
    let shortcut = x;
    if (stride !== 1 || x.shape[3] !== out) {
      shortcut = this.convolution(`${name}.downsample.0`, x, out, 1, stride);
      shortcut = this.norm(`${name}.downsample.1`, shortcut);
    }
    const convolutions =
      kind === "bottleneck"
        ? [
            { filters, window: 1, stride: 1 },
            { filters, window: 3, stride },
            { filters: out, window: 1, stride: 1 },
          ]
        : [
            { filters, window: 3, stride },
            { filters, window: 3, stride: 1 },
          ];
    let y = x;
    convolutions.forEach((c, i) => {
      const last = i === convolutions.length - 1;
      y = this.convolution(`${name}.conv${i + 1}`, y, c.filters, c.window, c.stride);
      const ending = last ? { residual: shortcut, gamma: 0 } : {};
      y = this.norm(`${name}.bn${i + 1}`, y, { relu: true, ...ending });
    });
    return y;
  }
}

function builder(name: string, { stem, block, stages }: Architecture): ModelBuilder {
  const build = ({ channels, classes }: Parameters<ModelBuilder>[0]): Model => ({
    name,
    channels,
    classes,
    build(network, input) {
      const layers = new Layers(network, channels);
      const first = stages[0]?.filters ?? 0;
      let x =
        stem === "imagenet"
          ? layers.convolution("conv1", input, first, 7, 2)
          : layers.convolution("conv1", input, first, 3, 1);
      x = layers.norm("bn1", x, { relu: true });
      const g = x.graph;
      if (stem === "imagenet")
        x = g.within("maxpool", () => maxPool(x, { window: 3, stride: 2, padding: 1 }));
      stages.forEach(({ blocks, filters }, stage) => {
        for (let i = 0; i < blocks; i++) {
          const stride = stage > 0 && i === 0 ? 2 : 1;
          x = layers.block(block, `layer${stage + 1}.${i}`, x, filters, stride);
        }
      });
      return layers.linear(
        "fc",
        g.within("avgpool", () => globalAveragePool(x)),
        classes,
      );
    },
  });
  return Object.assign(build, { smallImages: stem === "small" });
}

/**
 * Builders by name: resnet18, 34, 50, 101, 152 for ImageNet-sized images, resnet8, 20, 32, 56 for
 * small ones.
 */
export const models: Readonly<Record<string, ModelBuilder>> = Object.fromEntries(
  Object.entries(architectures).map(([name, architecture]) => [name, builder(name, architecture)]),
);

/**
 * A residual network.
 *
 * @param name one of `models`
 * @param options channels of an image, and number of classes
 * @throws OnehourError ERR_ONEHOUR_MODEL for a name that is not in the table
 */
export function resnet(name: string, options: { channels: number; classes: number }): Model {
  const build = Object.hasOwn(models, name) ? models[name] : undefined;
  if (build === undefined)
    throw new OnehourError(
      "ERR_ONEHOUR_MODEL",
      `no model is called "${name}"; try one of ${Object.keys(models).join(", ")}`,
    );
  return build(options);
}
