// Layers that declare their own parameters, so that a network reads like its paper.
import { OnehourError } from "../errors.js";
import type { Value } from "../graph/graph.js";
import { addBias, batchNorm, cast, conv2d, flatten, linear } from "../ops/index.js";
import { shown } from "../text/words.js";
import type { ModelBuilder, Network, ParameterRole } from "./model.js";

export interface ConvolutionOptions {
  /** K: channels out. */
  filters: number;
  /** R = S: height and width of a filter; odd, and the input is padded so that stride 1 keeps its size. */
  window: number;
  /** 1. */
  stride?: number;
  /** Groups of channels and filters, each convolved by itself; 1. */
  groups?: number;
  /** Whether a number of its own is added to each channel; false. */
  bias?: boolean;
}

export interface NormOptions {
  /** Whether ReLU follows; false. */
  relu?: boolean;
  /** Added before ReLU, of the input's shape. */
  residual?: Value;
  /** What γ begins with; 1. */
  gamma?: number;
}

const refuse = (layer: string, problem: string, code = "ERR_ONEHOUR_MODEL") =>
  new OnehourError(code, `layer ${shown(layer)}: ${problem}`);

/** Refuses an option that the layer does not take. */
function requireKnown(layer: string, options: object, known: readonly string[]): void {
  for (const key of Object.keys(options))
    if (!known.includes(key))
      throw refuse(layer, `it has no option ${shown(key)}; its options are ${known.join(", ")}`);
}

/** Refuses what is not a whole number of 1 or more. */
function requireCounts(layer: string, counts: Record<string, number>): void {
  for (const [name, value] of Object.entries(counts))
    if (!Number.isInteger(value) || value < 1)
      throw refuse(layer, `${name} is ${shown(value)}; expected a whole number of 1 or more`);
}

/**
 * The layers of a network. Each declares its parameters under its name (of letters, digits, - and _, with dots
 * between) and torchvision's endings: `conv1.weight`, `bn1.weight`, `bn1.bias`, `bn1.running_mean`,
 * `bn1.running_var`, `fc.weight`, `fc.bias`.
 * Activations are [N, H, W, C].
 */
export class Layers {
  constructor(
    private readonly network: Network,
    private readonly input: { x: Value; channels: number },
  ) {}

  /**
   * A parameter of your own, such as a factor for each channel: what an op takes that no layer here declares.
   *
   * @param name as the checkpoint has it, e.g. `block1.scale`
   * @param role weight decay applies to all but "gamma" and "beta"; "convolution" and "linear" are in the
   *   network's type (bf16), the others f32
   * @param shape in the checkpoint: OIHW for filters
   * @param initial one number, or the standard deviation of normal ones
   * @param stored shape in memory: KRSC for filters
   */
  parameter(
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

  /**
   * [N, H, W, C] → [N, ⌈H/stride⌉, ⌈W/stride⌉, filters]; He-normal by fan-out, biases from 0. Filters on the
   * network's input cover its padded channels.
   */
  convolution(name: string, x: Value, options: ConvolutionOptions): Value {
    const { filters, window, stride = 1, groups = 1, bias = false } = options;
    requireKnown(name, options, ["filters", "window", "stride", "groups", "bias"]);
    requireCounts(name, { filters, window, stride, groups });
    if (window % 2 === 0) throw refuse(name, `window is ${window}; expected an odd number`);
    const [, , , C = 0] = x.shape;
    if (C % groups !== 0 || filters % groups !== 0)
      throw refuse(
        name,
        `groups is ${groups}; expected a divisor of ${C} channels and ${filters} filters`,
        "ERR_ONEHOUR_SHAPE", // other images may have channels that fit
      );
    const stored = C / groups;
    const channels = x === this.input.x ? this.input.channels : stored;
    const std = Math.sqrt(2 / (filters * window * window));
    const w = this.parameter(
      `${name}.weight`,
      "convolution",
      [filters, channels, window, window],
      { std },
      [filters, window, window, stored],
    );
    const b = bias ? this.parameter(`${name}.bias`, "bias", [filters], 0) : undefined;
    return x.graph.within(name, () => {
      const y = conv2d(x, w, { stride, padding: (window - 1) >> 1, groups });
      return b ? addBias(y, b) : y;
    });
  }

  /** Batch norm over N, H and W, then the residual's addition and ReLU where asked for; the shape stays. */
  norm(name: string, x: Value, options: NormOptions = {}): Value {
    const { training, batchNorm: settings } = this.network;
    const { relu = false, residual, gamma = 1 } = options;
    requireKnown(name, options, ["relu", "residual", "gamma"]);
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

  /** Convolution `NAME.conv`, batch norm `NAME.bn` and ReLU. */
  convNorm(name: string, x: Value, options: ConvolutionOptions & NormOptions): Value {
    const { relu = true, gamma = 1, residual, ...convolution } = options;
    const y = this.convolution(`${name}.conv`, x, convolution);
    return this.norm(`${name}.bn`, y, { relu, gamma, ...(residual && { residual }) });
  }

  /** [N, C] → [N, features]: x·wᵀ + b; w from N(0, 0.01²), b = 0. */
  linear(name: string, x: Value, features: number): Value {
    requireCounts(name, { features });
    const w = this.parameter(`${name}.weight`, "linear", [features, x.shape[1] ?? 0], {
      std: 0.01,
    });
    const b = this.parameter(`${name}.bias`, "bias", [features], 0);
    return x.graph.within(name, () => linear(x.dtype === w.dtype ? x : cast(x, w.dtype), w, b));
  }

  /**
   * [N, H, W, C] → [N, features]: a linear layer on all numbers of an image, whose weights are in
   * PyTorch's order, by channel first; w from N(0, 0.01²), b = 0.
   */
  linearOfImage(name: string, x: Value, features: number): Value {
    requireCounts(name, { features });
    const [, H = 0, W = 0, C = 0] = x.shape;
    const shape = [features, C * H * W];
    const stored = [features, H, W, C];
    const w = this.parameter(`${name}.weight`, "linear", shape, { std: 0.01 }, stored);
    const b = this.parameter(`${name}.bias`, "bias", [features], 0);
    return x.graph.within(name, () => flatten(addBias(conv2d(x, w), b)));
  }
}

/**
 * The builder of a network: `build` takes its layers and x, [N, H, W, C] with normalised images, and
 * returns the logits, [N, classes].
 */
export function network(
  build: (layers: Layers, x: Value, options: { channels: number; classes: number }) => Value,
): ModelBuilder {
  return (options) => ({
    ...options,
    build: (declares, x) =>
      build(new Layers(declares, { x, channels: options.channels }), x, options),
  });
}
