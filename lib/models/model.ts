// The type of a model: a function that builds its forward pass and declares its parameters on the way.
import type { Value } from "../graph/graph.js";

/** What a parameter is to the network; weight decay and initialisation go by it, not by name. */
export type ParameterRole = "convolution" | "gamma" | "beta" | "linear" | "bias";

/** How a tensor starts: drawn from N(0, std²), or one number everywhere. */
export type Initial = { kind: "normal"; std: number } | { kind: "constant"; value: number };

export interface Declaration<Role extends string> {
  /** torchvision's name, e.g. `layer1.0.conv1.weight`. */
  name: string;
  role: Role;
  /** torchvision's shape: OIHW for convolutions, [K, C] for linear, [C]. */
  shape: readonly number[];
  /** Shape in memory: KRSC for convolutions, channels padded; the others as `shape`. */
  stored: readonly number[];
  initial: Initial;
}

/** What a model is built with. */
export interface Network {
  /** Statistics of the batch or the running ones. */
  readonly training: boolean;
  /** Running-statistics factors and the ranks that share statistics. */
  readonly batchNorm: {
    decay: number;
    gain: number;
    group?: { communicator: string; size: number };
  };
  /** The value to compute with: f32, or the low-precision copy for convolution and linear weights. */
  parameter(declaration: Declaration<ParameterRole>): Value;
  /** A running statistic, f32. */
  statistic(declaration: Declaration<"running-mean" | "running-variance">): Value;
}

export interface Model {
  /** C: channels of an image. */
  readonly channels: number;
  readonly classes: number;
  /** x [N, H, W, C′] with channels zero-padded from C to C′; returns the logits, f32 [N, classes]. */
  build(network: Network, x: Value): Value;
}

export interface ModelBuilder {
  (options: { channels: number; classes: number }): Model;
  /** Whether it is made for images of some 32 pixels, not for 224; false. */
  readonly smallImages?: boolean;
}
