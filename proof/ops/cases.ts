// The programs whose instructions are compared: families of ops with odd and large sizes, with their
// gradients, and whole training steps, so that every fused form occurs as fusion makes it.
import { bytesOf } from "#lib/arrays/bytes-of.js";
import { hashName, Purpose, Random } from "#lib/data/random.js";
import { gradient } from "#lib/graph/autodiff.js";
import { compile, type TensorLayout } from "#lib/graph/compile.js";
import { programOf } from "#lib/graph/evaluate.js";
import { type DataType, elements, Graph, type Value } from "#lib/graph/graph.js";
import { parse } from "#lib/graph/parse.js";
import type { Program } from "#lib/graph/program.js";

import { resnet } from "#lib/models/models.js";
import { caseFamilies } from "#lib/ops/book.js";
import { type CaseFamily, type CaseRow, typeOfInput } from "#lib/ops/cases.js";

import {
  add,
  batchNorm,
  cast,
  clipNorm,
  conv2d,
  globalAveragePool,
  larsTrust,
  linear,
  normalizeInput,
  norms,
  relu,
  scale,
  sgd,
  softmaxCrossEntropy,
} from "#lib/ops/index.js";
import { optimizers } from "#lib/ops/optimizers/index.js";
import { toStored } from "#lib/run-folder/layout.js";
import { initialWeights } from "#lib/train/initialize.js";
import type { OpCase } from "./case.js";

type Type = "f32" | "bf16";

/** Which programs to make. */
interface OpCaseOptions {
  /** Kernels of the device; they decide the fusions. */
  operations: ReadonlySet<string>;
  /** Image channels are padded to a multiple of this. */
  channelMultiple: number;
  /** No size above some ten thousand elements. */
  small: boolean;
  /** Whether the device computes in tf32. */
  tf32: boolean;
}

/** Constants of a graph, filled by the counter-based generator. */
class Source {
  private count = 0;

  constructor(
    readonly g: Graph,
    private readonly name: string,
  ) {}

  private random(): Random {
    return new Random(1706, Purpose.synthetic, this.count++, hashName(this.name));
  }

  /** Uniform, of variance 1 around `mean` unless scaled. */
  numbers(shape: readonly number[], dtype: DataType = "f32", deviation = 1, mean = 0): Value {
    const random = this.random();
    const half = Math.sqrt(3) * deviation;
    const data = new Float32Array(elements(shape));
    for (let i = 0; i < data.length; i++) data[i] = mean + half * (2 * random.uniform() - 1);
    return this.g.constant(data, shape, dtype);
  }

  bytes(shape: readonly number[], below = 256): Value {
    const random = this.random();
    const data = new Uint8Array(elements(shape));
    for (let i = 0; i < data.length; i++) data[i] = random.below(below);
    return this.g.constant(data, shape);
  }

  /** Labels from −1, which counts in no sum. */
  labels(n: number, classes: number): Value {
    const random = this.random();
    return this.g.constant(
      Int32Array.from({ length: n }, () => random.below(classes + 1) - 1),
      [n],
    );
  }
}

/** y and its gradients by all of `inputs`, from a random gradient of y. */
function withGradients(source: Source, y: Value, inputs: Record<string, Value>) {
  const dy = source.numbers(y.shape, y.dtype);
  const names = Object.keys(inputs);
  const gradients = gradient(source.g, y, dy, Object.values(inputs));
  return { y, ...Object.fromEntries(names.map((name, i) => [`d${name}`, gradients[i]!])) };
}

type Build = (source: Source) => Record<string, Value>;

/** A case of the op book with its gradients, on random inputs. */
const ofBook =
  ({ inputs, build }: CaseFamily, row: CaseRow) =>
  (T: Type): Build =>
  (source) => {
    const typed = { ...row, dtype: T };
    const values = Object.fromEntries(
      Object.entries(inputs(typed)).map(([name, input]) => {
        const { shape, deviation, mean } = input;
        return [name, source.numbers(shape, typeOfInput(input, typed), deviation, mean)];
      }),
    );
    return withGradients(source, build(values, typed), values);
  };

/** A convolution with batch norm, as fusion finds it: with or without residual, ReLU, training. */
const normalized =
  (shape: number[], options: { residual?: boolean; relu?: boolean; training?: boolean }) =>
  (T: Type): Build =>
  (source) => {
    const C = shape[3]!;
    const inputs: Record<string, Value> = {
      x: source.numbers(shape, T),
      w: source.numbers([C, 1, 1, C], T, C ** -0.5),
      gamma: source.numbers([C], "f32", 0.3, 1),
      beta: source.numbers([C], "f32", 0.5),
      ...(options.residual ? { residual: source.numbers(shape, T) } : {}),
    };
    const running = {
      runningMean: source.numbers([C]),
      runningVariance: source.numbers([C], "f32", 0.2, 1),
    };
    const y = batchNorm(conv2d(inputs.x!, inputs.w!), {
      gamma: inputs.gamma!,
      beta: inputs.beta!,
      ...running,
      residual: inputs.residual,
      relu: options.relu === true,
      training: options.training !== false,
    });
    return options.training === false ? { y } : { ...withGradients(source, y, inputs), ...running };
  };

const classified =
  (x: number[], classes: number, smoothing: number) =>
  (T: Type): Build =>
  (source) => {
    const [n = 0, , , C = 0] = x;
    const inputs = {
      x: source.numbers(x, T),
      w: source.numbers([classes, C], T, C ** -0.5),
      b: source.numbers([classes]),
    };
    const logits = linear(globalAveragePool(inputs.x), inputs.w, inputs.b);
    const loss = { smoothing, scale: 1 / n };
    const { metrics } = softmaxCrossEntropy(logits, source.labels(n, classes), loss);
    const [dx, dw, db] = gradient(source.g, metrics, undefined, Object.values(inputs));
    return { metrics, dx: dx!, dw: dw!, db: db! };
  };

const elementwise =
  (shape: number[]) =>
  (T: Type): Build =>
  (source) => {
    const inputs = { a: source.numbers(shape, T), b: source.numbers(shape, T) };
    const y = relu(add(inputs.a, inputs.b));
    const other = cast(relu(inputs.a), T === "f32" ? "bf16" : "f32");
    const scaled = scale(cast(inputs.b, "f32"), -0.375);
    return { ...withGradients(source, y, inputs), other, scaled };
  };

const normalizedInput =
  (shape: number[], channels: number, flips: boolean) =>
  (T: Type): Build =>
  (source) => {
    const C = shape[3]!;
    const y = normalizeInput(source.bytes(shape), {
      mean: Array.from({ length: C }, (_, c) => 0.4 + 0.05 * c),
      std: Array.from({ length: C }, (_, c) => 0.3 - 0.04 * c),
      flip: flips ? source.bytes([shape[0]!], 2) : undefined,
      dtype: T,
      channels,
    });
    return { y };
  };

const updated =
  (segments: readonly { length: number; decay: number }[], form: "gradient" | "velocity") =>
  (T: Type): Build =>
  (source) => {
    const length = segments.reduce((sum, segment) => sum + segment.length, 0);
    const tensors = {
      w: source.numbers([length]),
      g: source.numbers([length], "f32", 0.01),
      v: source.numbers([length], "f32", 0.01),
      schedule: source.g.constant(Float32Array.of(0.3, 1.5), [2]),
    };
    const low = T === "bf16";
    const options = { form, nesterov: low, momentum: 0.9, segments, zero: low, copy: low };
    const { w, v, g, copy, finite } = sgd(tensors, options);
    return { w, v, finite, ...(g ? { g } : {}), ...(copy ? { copy } : {}) };
  };

/** Norms, clipped, and an update with LARS's rates. */
const adapted =
  (lengths: readonly number[], limit: number) =>
  (T: Type): Build =>
  (source) => {
    const length = lengths.reduce((sum, own) => sum + own, 0);
    const [w, v] = [source.numbers([length]), source.numbers([length], "f32", 0.01)];
    const gradient = source.numbers([length]);
    const clipped = clipNorm(gradient, norms(w, gradient, lengths), limit);
    const tensors = lengths.map((_, i) => ({ decay: 1e-4, adapts: i !== 1 }));
    const trust = larsTrust(clipped.norms, { coefficient: 0.001, tensors });
    const schedule = source.g.constant(Float32Array.of(3, 1), [2]);
    const segments = lengths.map((own, i) => ({ length: own, decay: tensors[i]!.decay }));
    const low = T === "bf16";
    const options = { form: "velocity" as const, nesterov: false, momentum: 0.9, segments };
    const result = sgd({ w, g: clipped.g, v, schedule, trust }, { ...options, copy: low });
    const { copy, finite } = result;
    return {
      w: result.w,
      v: result.v,
      g: clipped.g,
      norms: clipped.norms,
      trust,
      finite,
      ...(copy ? { copy } : {}),
    };
  };

interface Family {
  name: string;
  /** Whether it runs only where there is a GPU. */
  large?: boolean;
  /** The types that it runs in; both. */
  types?: readonly Type[];
  build: (T: Type) => Build;
}

const bothTypes: readonly Type[] = ["bf16", "f32"];

/** The op book's cases, those of f32 in bf16 too. */
const bookFamilies: Family[] = caseFamilies.flatMap((family) => {
  const { family: op, rows, sizes = [], large = [] } = family;
  const named = (row: CaseRow) => ({
    name: `${op}: ${row.name}`,
    types: row.dtype === "bf16" ? (["bf16"] as const) : bothTypes,
    build: ofBook(family, row),
  });
  return [
    ...[...rows, ...sizes].map(named),
    ...large.map((row) => ({ ...named(row), large: true })),
  ];
});

/** Ops as fusion joins them, and those that no gradient follows. */
const families: Family[] = [
  ...bookFamilies,
  { name: "BN", build: normalized([3, 5, 7, 16], {}) },
  { name: "BN + ReLU", build: normalized([3, 5, 7, 19], { relu: true }) },
  { name: "BN + add + ReLU", build: normalized([2, 9, 5, 24], { relu: true, residual: true }) },
  { name: "BN + add", build: normalized([1, 3, 3, 17], { residual: true }) },
  { name: "BN, one channel", build: normalized([2, 9, 7, 1], { relu: true }) },
  { name: "BN, few pixels", build: normalized([2, 1, 2, 67], { relu: true }) },
  {
    name: "BN, running",
    build: normalized([2, 3, 5, 9], { relu: true, residual: true, training: false }),
  },
  { large: true, name: "BN, many pixels", build: normalized([8, 57, 55, 64], { relu: true }) },
  {
    large: true,
    name: "BN, many channels",
    build: normalized([5, 7, 7, 2048], { relu: true, residual: true }),
  },
  { name: "7 classes", build: classified([5, 3, 5, 17], 7, 0.1) },
  { name: "1 feature, 3 classes", build: classified([1, 1, 1, 1], 3, 0) },
  { name: "1000 classes", build: classified([9, 7, 7, 33], 1000, 0.1) },
  { large: true, name: "a minibatch's classes", build: classified([257, 7, 7, 512], 1000, 0) },
  { name: "1 element", build: elementwise([1]) },
  { name: "odd elements", build: elementwise([3, 5, 7, 11]) },
  { large: true, name: "many elements", build: elementwise([1_000_003]) },
  { name: "pixels, 1 channel", build: normalizedInput([3, 5, 7, 1], 1, true) },
  { name: "pixels, 3 to 4 channels", build: normalizedInput([3, 4, 5, 3], 4, true) },
  { name: "pixels, 3 channels", build: normalizedInput([1, 3, 5, 3], 3, false) },
  { large: true, name: "photographs", build: normalizedInput([8, 224, 223, 3], 4, true) },
  {
    name: "update",
    build: updated(
      [
        { length: 37, decay: 1e-4 },
        { length: 11, decay: 0 },
      ],
      "gradient",
    ),
  },
  {
    name: "update, velocity",
    build: updated(
      [
        { length: 5, decay: 0 },
        { length: 122, decay: 1e-3 },
      ],
      "velocity",
    ),
  },
  { name: "update, 1 element", build: updated([{ length: 1, decay: 0.5 }], "gradient") },
  { name: "LARS, clipped", build: adapted([37, 11, 8200], 0.5) },
  { name: "LARS, not clipped", build: adapted([5, 1], 1e3) },
  { large: true, name: "LARS, many", build: adapted([2_000_003, 64, 300_000], 1) },
  {
    large: true,
    name: "update, many",
    build: updated(
      [
        { length: 2_000_003, decay: 1e-4 },
        { length: 64, decay: 0 },
      ],
      "gradient",
    ),
  },
];

function arenasOf(program: Program): Map<string, Uint8Array> {
  return new Map(program.arenas.map(({ name, bytes }) => [name, new Uint8Array(bytes)]));
}

function familyCase(name: string, build: Build, operations: ReadonlySet<string>): OpCase {
  const g = new Graph();
  const results = build(new Source(g, name));
  const program = parse(programOf(g, Object.values(results), operations));
  const arenas = arenasOf(program);
  for (const { value, bytes } of g.constants)
    arenas.get(value.storage.arena)!.set(bytes, value.storage.offset);
  return { name, program, arenas };
}

/** Whole steps, the quick one first; micro-batches accumulate where `accumulate` is 2. */
const networks = [
  { model: "resnet8", images: { height: 12, width: 15, channels: 1 }, accumulate: 2 },
  { model: "resnet20", images: { height: 27, width: 29, channels: 3 }, accumulate: 1 },
  { model: "resnet50", images: { height: 65, width: 47, channels: 3 }, accumulate: 1 },
] as const;

/** Weights and statistics by model: the same in every precision, and some seconds of ResNet-50's. */
const drawn = new Map<string, Map<string, Float32Array>>();

function weightsOf(model: string, layouts: readonly TensorLayout[]): Map<string, Float32Array> {
  const known = drawn.get(model) ?? initialWeights(layouts, 1);
  drawn.set(model, known);
  return known;
}

/** The programs of a training step, one after another on the same arenas. */
function* networkCases(
  { model, images, accumulate }: (typeof networks)[number],
  precision: "fp32" | "tf32" | "bf16",
  { operations, channelMultiple }: OpCaseOptions,
): Generator<OpCase> {
  const batch = 3;
  const { channels } = images;
  const [mean, std] = [Array(channels).fill(0.5), Array(channels).fill(0.25)];
  const compiled = compile(
    resnet(model, { channels, classes: 10 }),
    {
      device: { operations, properties: { channelMultiple } },
      image: images,
      mean,
      std,
      batch,
      accumulate,
      precision,
      slots: 1,
      labelSmoothing: 0.1,
    },
    { optimizer: optimizers.sgd() },
  );
  const programs = new Map(compiled.programs.map(({ name, text }) => [name, parse(text)]));
  const arenas = new Map<string, Uint8Array>();
  for (const program of programs.values())
    for (const [name, bytes] of arenasOf(program))
      if (bytes.length > (arenas.get(name)?.length ?? -1)) arenas.set(name, bytes);
  const { parameters, statistics } = compiled;
  const drawnWeights = weightsOf(model, [...parameters, ...statistics]);
  const put = (arena: string, layouts: readonly TensorLayout[]) => {
    for (const layout of layouts) {
      const weights = drawnWeights.get(layout.name)!;
      // γ = 0, as the paper has it at the end of a block, would hide what lies behind it.
      const values = layout.role === "gamma" ? weights.fill(0.75) : weights;
      arenas.get(arena)!.set(bytesOf(toStored(layout, values)), layout.offset);
    }
  };
  put("param", parameters);
  put("state", statistics);
  const random = new Random(1, Purpose.synthetic);
  const input = arenas.get("input")!;
  const { images: pixels, flips, labels, schedule } = compiled.input;
  for (let i = 0; i < pixels.bytes; i++) input[pixels.offset + i] = random.below(256);
  for (let i = 0; i < batch; i++) input[flips.offset + i] = random.below(2);
  const view = new DataView(input.buffer);
  for (let i = 0; i < batch; i++) view.setInt32(labels.offset + 4 * i, random.below(10), true);
  view.setFloat32(schedule.offset, 0.1, true);
  view.setFloat32(schedule.offset + 4, 1, true);
  for (const name of ["weights", "micro", "last", "evaluate"]) {
    const program = programs.get(name);
    if (program) yield { name: `${model} ${precision} ${name}`, program, arenas };
  }
}

/**
 * All cases, the most important first: training steps in bf16 as fusion makes them, then odd sizes in
 * both types, then large ones, then the exact precisions of whole steps and deep networks.
 */
export function* opCases(options: OpCaseOptions): Generator<OpCase> {
  const { operations, small, tf32 } = options;
  const exact = ["fp32", ...(tf32 ? (["tf32"] as const) : [])] as const;
  const [shallow, ...deep] = networks;
  function* familyCases(ofSize: boolean): Generator<OpCase> {
    for (const T of bothTypes)
      for (const { name, build, large = false, types = bothTypes } of families)
        if (large === ofSize && types.includes(T))
          yield familyCase(`${name}, ${T}`, build(T), operations);
  }
  yield* networkCases(shallow, "bf16", options);
  yield* familyCases(false);
  for (const precision of exact) yield* networkCases(shallow, precision, options);
  if (small) return;
  yield* familyCases(true);
  for (const precision of ["bf16", ...exact] as const)
    for (const network of deep) yield* networkCases(network, precision, options);
}
