// Networks with the weights, images and labels of scripts/oracle.py, from the same generator, for tests
// and for the verification on a GPU.
import { bytesOf } from "#lib/arrays/bytes-of.js";
import type { ImageShape } from "#lib/data/dataset.js";
import { hashName, threefry2x32 } from "#lib/data/random.js";
import type { Device, Executor, NativeCommunicator } from "#lib/device/device.js";
import {
  type CompiledModel,
  type CompileOptions,
  compile,
  type TensorLayout,
  type Update,
} from "#lib/graph/compile.js";
import { elements } from "#lib/graph/graph.js";
import { buildModel } from "#lib/models/models.js";
import { initialScaling, scalingToFloats } from "#lib/ops/loss-scale.js";
import { optimizers } from "#lib/ops/optimizers/index.js";
import { fromStored, toStored } from "#lib/run-folder/layout.js";
import { relativeError } from "./compare.js";

const SEED = 1706;

/** `count` random words: words 2i and 2i + 1 are the block of counter (i, 0) under (SEED, name). */
function words(name: string, count: number): Uint32Array {
  const result = new Uint32Array(count + 1);
  const block = new Uint32Array(2);
  const key = hashName(name);
  for (let i = 0; i < count; i += 2) {
    threefry2x32(SEED, key, i / 2, 0, block);
    // Where networks have 100 million weights, `set` takes half the time.
    result[i] = block[0]!;
    result[i + 1] = block[1]!;
  }
  return result.subarray(0, count);
}

/** f(u) for u uniform in [0, 1), multiples of 2⁻²⁴. */
export function draw(name: string, count: number, f: (u: number) => number): Float32Array {
  const random = words(name, count);
  const result = new Float32Array(count);
  for (let i = 0; i < count; i++) result[i] = f((random[i]! >>> 8) / 2 ** 24);
  return result;
}

function randomBytes(name: string, count: number): Uint8Array {
  return new Uint8Array(words(name, Math.ceil(count / 4)).slice().buffer, 0, count);
}

/** How batch norm starts: see the oracle's Network. */
type Initialization = "robust" | "paper";

/** The initial value of a parameter or running statistic, in torchvision's layout. */
function initialValue(layout: TensorLayout, init: Initialization): Float32Array {
  const { name, shape, role, initial } = layout;
  const count = elements(shape);
  switch (role) {
    case "convolution": {
      const bound = Math.sqrt(6 / (shape[0]! * shape[2]! * shape[3]!));
      return draw(name, count, (u) => (2 * u - 1) * bound);
    }
    case "gamma": {
      if (init === "robust") return draw(name, count, (u) => 0.2 + 0.2 * u);
      const last = initial.kind === "constant" && initial.value === 0;
      return new Float32Array(count).fill(last ? 0 : 1);
    }
    case "beta":
      return new Float32Array(count).map((_, i) => (init === "robust" ? 2 - 4 * (i % 2) : 0));
    case "running-mean":
      return draw(name, count, (u) => u - 0.5);
    case "running-variance":
      return draw(name, count, (u) => 0.5 + u);
    default:
      return draw(name, count, (u) => (2 * u - 1) * 0.02);
  }
}

/** Eight sums of ±data: bit p of byte i is the sign of element i in projection p (0: plus). */
function projections(name: string, data: Float32Array): Float64Array {
  const signs = randomBytes(`signs ${name}`, data.length);
  const result = new Float64Array(8);
  for (let i = 0; i < data.length; i++) {
    const value = data[i]!;
    const bits = signs[i]!;
    for (let p = 0; p < 8; p++) result[p]! += (bits >> p) & 1 ? -value : value;
  }
  return result;
}

/**
 * An estimate of ‖data − expected‖ / scale from the projections of what is expected: the mean square
 * of an error's projections is, on average, the square of its norm.
 */
export function projectedError(
  name: string,
  data: Float32Array,
  expected: ArrayLike<number>,
  scale: number,
): number {
  return relativeError(projections(name, data), expected, Math.sqrt(8) * scale);
}

/**
 * The size that the error of a parameter or of its gradient is compared with: its norm, and for β of
 * a batch norm the norm of γ's and β's together, which one reduction computes. β = ±2 keeps almost
 * every ReLU where it is, so that the next batch norm takes a shift by β out again: the gradient of
 * such a β is 0, or the small rest of a large sum, in exact arithmetic too.
 */
export function errorScale({ name, role }: TensorLayout, normOf: (name: string) => number): number {
  if (role !== "beta") return normOf(name);
  return Math.hypot(normOf(name), normOf(name.replace(/bias$/, "weight")));
}

const imagenet = {
  images: { height: 224, width: 224, channels: 3 },
  classes: 1000,
  mean: [0.485, 0.456, 0.406],
  std: [0.229, 0.224, 0.225],
};

const networks = {
  resnet8: {
    images: { height: 28, width: 28, channels: 1 },
    classes: 10,
    mean: [0.286],
    std: [0.353],
  },
  resnet50: imagenet,
  resnext50_32x4d: imagenet,
  wide_resnet50_2: imagenet,
  vgg11_bn: imagenet,
};

type NetworkName = keyof typeof networks;

/** Images (u8 NHWC), flips and labels of batch `index`: stripes whose slope is the label. */
function batch({ height, width, channels }: ImageShape, classes: number, index: number, n: number) {
  const labels = Int32Array.from(words(`labels ${index}`, n), (word) => word % classes);
  const flips = Uint8Array.from(words(`flips ${index}`, n), (word) => word % 2);
  const pixels = randomBytes(`images ${index}`, n * height * width * channels);
  let i = 0;
  for (let image = 0; image < n; image++)
    for (let row = 0; row < height; row++)
      for (let column = 0; column < width; column++) {
        const stripe = (labels[image]! * row + column) % 10 === 0 ? 127 : 0;
        for (let c = 0; c < channels; c++, i++) pixels[i] = (pixels[i]! >> 1) + stripe;
      }
  return { pixels, flips, labels };
}

/** How a network differs from the oracle's, and its place among several ranks. */
export interface NetworkOptions extends Partial<CompileOptions> {
  /** Other sizes than the oracle's. */
  images?: ImageShape;
  /** Another update than the paper's. */
  update?: Update;
  /** Which of the `workers` this is: it takes its share of every batch. */
  rank?: number;
  communicators?: Record<string, NativeCommunicator>;
}

/** A network of the oracle's, compiled and loaded. */
export class TestNetwork {
  private constructor(
    readonly images: ImageShape,
    readonly classes: number,
    /** Images per worker. */
    readonly batchSize: number,
    private readonly place: { rank: number; workers: number },
    readonly compiled: CompiledModel,
    readonly executor: Executor,
  ) {}

  static async load(
    device: Device,
    name: NetworkName,
    batchSize: number,
    { rank = 0, communicators = {}, ...options }: NetworkOptions = {},
  ): Promise<TestNetwork> {
    const { classes, mean, std } = networks[name];
    const { images = networks[name].images, update, ...others } = options;
    const compiled = compile(
      buildModel(name, { channels: images.channels, classes }),
      { device, image: images, mean, std, batch: batchSize, slots: 1, ...others },
      update ?? { optimizer: optimizers.sgd() },
    );
    const executor = await device.load(compiled.programs, { communicators });
    const place = { rank, workers: options.workers ?? 1 };
    return new TestNetwork(images, classes, batchSize, place, compiled, executor);
  }

  /** Writes the oracle's parameters and running statistics. */
  async initialize(init: Initialization): Promise<void> {
    const { parameters, statistics } = this.compiled;
    for (const layout of parameters) await this.write("param", layout, init);
    for (const layout of statistics) await this.write("state", layout, init);
    const { scaling } = this.compiled;
    if (scaling.bytes > 0) {
      const values = bytesOf(scalingToFloats(initialScaling));
      await this.executor.write("state", scaling.offset, values);
    }
    if (this.compiled.programs.some(({ name }) => name === "weights"))
      await this.executor.submit("weights", 0);
  }

  private async write(arena: string, layout: TensorLayout, init: Initialization): Promise<void> {
    await this.put(arena, layout, initialValue(layout, init));
  }

  /** Writes a parameter or running statistic, given in torchvision's layout. */
  async put(arena: string, layout: TensorLayout, values: Float32Array): Promise<void> {
    await this.executor.write(arena, layout.offset, bytesOf(toStored(layout, values)));
  }

  /** A parameter, its gradient or a running statistic, in torchvision's layout. */
  async read(arena: "param" | "grad" | "state", layout: TensorLayout): Promise<Float32Array> {
    const count = elements(layout.stored);
    const bytes = await this.executor.read(arena, layout.offset, 4 * count);
    const values = new Float32Array(bytes.slice().buffer);
    const isScaled = arena === "grad" && this.compiled.scaling.bytes > 0;
    return fromStored(layout, isScaled ? values.map((x) => x / initialScaling.lossScale) : values);
  }

  /** Runs a program on batch `index` and returns its metrics. `ignored` images get label −1. */
  async run(
    program: "micro" | "last" | "evaluate" | "evaluate-ema",
    index: number,
    options: { rate?: number; emaRate?: number; ignored?: readonly number[] } = {},
  ): Promise<Float32Array> {
    const { images, classes, batchSize } = this;
    const { rank, workers } = this.place;
    const { pixels, flips, labels } = batch(images, classes, index, batchSize * workers);
    for (const image of options.ignored ?? []) labels[image] = -1;
    const slot = this.executor.input(0);
    const { input, output } = this.compiled;
    const share = (data: NodeJS.TypedArray) => {
      const bytes = bytesOf(data);
      const each = bytes.length / workers;
      return bytes.subarray(rank * each, (rank + 1) * each);
    };
    slot.set(share(pixels), input.images.offset);
    slot.set(share(flips), input.flips.offset);
    slot.set(share(labels), input.labels.offset);
    slot.set(bytesOf(Float32Array.of(options.rate ?? 0.1, 1)), input.schedule.offset);
    if (input.ema) slot.set(bytesOf(Float32Array.of(options.emaRate ?? 0)), input.ema.offset);
    await this.executor.submit(program, 0);
    const { offset, bytes } = output.metrics;
    return new Float32Array(this.executor.output(0).slice(offset, offset + bytes).buffer);
  }

  /** The f32 operand `name` of the only instruction `op` of a program that ran last. */
  async operand(program: string, op: string, name: string): Promise<Float32Array> {
    const text = this.compiled.programs.find((other) => other.name === program)!.text;
    const line = text.split("\n").find((other) => other.split(" ")[1] === op)!;
    const match = new RegExp(` ${name}=temp\\+(\\d+):f32\\[([\\d,]+)\\]`).exec(line)!;
    const count = elements(match[2]!.split(",").map(Number));
    const bytes = await this.executor.read("temp", Number(match[1]), 4 * count);
    return new Float32Array(bytes.slice().buffer);
  }

  dispose(): void {
    this.executor.dispose();
  }
}
