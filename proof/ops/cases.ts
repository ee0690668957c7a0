// The programs whose instructions are compared: the op book's cases with their gradients, batch norm as
// fusion joins it with other ops, and whole training steps.
import { hashName, Purpose, Random } from "#lib/data/random.js";
import type { Device } from "#lib/device/device.js";
import { gradient } from "#lib/graph/autodiff.js";
import { programOf } from "#lib/graph/evaluate.js";
import { elements, Graph, type Value } from "#lib/graph/graph.js";
import { parse } from "#lib/graph/parse.js";
import { batchNormFinalize, batchNormStatistics } from "#lib/ops/batch-norm.js";
import { caseFamilies, updateFamilies } from "#lib/ops/book.js";
import type { CaseFamily, CaseInput, CaseRow } from "#lib/ops/cases.js";
import { conv2dBackwardWeightRounded, convolutionAttributes } from "#lib/ops/conv.js";
import { batchNorm, conv2d, maxPool } from "#lib/ops/index.js";
import type { UpdateFamily } from "#lib/ops/optimizers/cases.js";
import { arenasOf, type OpCase } from "./case.js";
import { outputsOf, typeOfInput } from "./families.js";
import { networkCases, networks, type StepTarget } from "./networks.js";
import { compareCase, compareUpdate, type OracleFinding } from "./oracle.js";

type Type = CaseRow["dtype"];

/** Which programs to make. */
interface OpCaseOptions extends StepTarget {
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

  /** An input of a case; numbers of variance 1 around 0 unless it says otherwise. */
  draw(input: CaseInput, T: Type): Value {
    const { shape, bytes, classes, deviation = 1, mean = 0 } = input;
    const random = new Random(1706, Purpose.synthetic, this.count++, hashName(this.name));
    const length = elements(shape);
    const filled = <A extends Uint8Array | Int32Array | Float32Array>(data: A, f: () => number) => {
      for (let i = 0; i < length; i++) data[i] = f();
      return this.g.constant(data, shape, typeOfInput(input, T));
    };
    if (bytes !== undefined) return filled(new Uint8Array(length), () => random.below(bytes));
    if (classes !== undefined)
      return filled(new Int32Array(length), () => random.below(classes + 1) - 1);
    const half = Math.sqrt(3) * deviation;
    return filled(new Float32Array(length), () => mean + half * (2 * random.uniform() - 1));
  }
}

/** A program's results, built from random inputs. */
type Build = (source: Source) => Record<string, Value>;

/** y and its gradients by all of `inputs`, from a random gradient of y. */
function withGradients(source: Source, y: Value, inputs: Record<string, Value>) {
  const dy = source.draw({ shape: y.shape }, y.dtype as Type);
  const names = Object.keys(inputs);
  const gradients = gradient(source.g, y, dy, Object.values(inputs));
  return { y, ...Object.fromEntries(names.map((name, i) => [`d${name}`, gradients[i]!])) };
}

const ofFamily =
  (family: CaseFamily, row: CaseRow): Build =>
  (source) => {
    const inputs = Object.fromEntries(
      Object.entries(family.inputs(row)).map(([name, input]) => [
        name,
        source.draw(input, row.dtype),
      ]),
    );
    const outputs = outputsOf(family, inputs, row);
    return family.difference ? withGradients(source, outputs.y!, inputs) : { ...outputs };
  };

/**
 * One step of an update; in bf16 and f16 with a copy of that type, and the gradient is cleared; in f16 the
 * gradient is scaled too.
 */
const ofUpdate =
  (family: UpdateFamily, { dtype, ...row }: CaseRow): Build =>
  (source) => {
    const { g } = source;
    const length = family.lengths(row).reduce((sum, own) => sum + own, 0);
    const draw = (deviation: number) => source.draw({ shape: [length], deviation }, "f32");
    const range = { w: draw(1), g: draw(0.01), v: draw(0.01) };
    const copy = dtype === "f32" ? undefined : dtype;
    family.update(
      {
        ...range,
        schedule: g.constant(Float32Array.of(0.3, 1.5), [2]),
        writes: {
          zero: copy !== undefined,
          copy,
          factor: dtype === "f16" ? g.constant(Float32Array.of(2 ** -10), [1]) : undefined,
          into: { copy: g.reserve("output", 2 * length), finite: g.reserve("output", 4) },
        },
      },
      row,
    );
    return range;
  };

/** A convolution with batch norm, as fusion finds it: with or without residual, ReLU, training. */
const normalized =
  (
    shape: number[],
    options: { residual?: boolean; relu?: boolean; training?: boolean; pool?: boolean },
  ) =>
  (dtype: Type): Build =>
  (source) => {
    const C = shape[3]!;
    const draw = (input: CaseInput) => source.draw(input, dtype);
    const channels = (deviation: number, mean = 0) =>
      draw({ shape: [C], f32: true, deviation, mean });
    const inputs: Record<string, Value> = {
      x: draw({ shape }),
      w: draw({ shape: [C, 1, 1, C], deviation: C ** -0.5 }),
      gamma: channels(0.3, 1),
      beta: channels(0.5),
      ...(options.residual ? { residual: draw({ shape }) } : {}),
    };
    const running = { runningMean: channels(1), runningVariance: channels(0.2, 1) };
    const image = batchNorm(conv2d(inputs.x!, inputs.w!), {
      gamma: inputs.gamma!,
      beta: inputs.beta!,
      ...running,
      residual: inputs.residual,
      relu: options.relu === true,
      training: options.training !== false,
    });
    const y = options.pool ? maxPool(image, { window: 3, stride: 2, padding: 1 }) : image;
    return options.training === false ? { y } : { ...withGradients(source, y, inputs), ...running };
  };

/** Statistics of images and of a convolution that nothing finalizes, and those of two ranks that are. */
const statisticsApart =
  (dtype: Type): Build =>
  (source) => {
    const { g } = source;
    const draw = source.draw.bind(source);
    const [x, w] = [draw({ shape: [3, 5, 7, 16] }, dtype), draw({ shape: [24, 1, 1, 16] }, dtype)];
    const vector = () => draw({ shape: [16], mean: 3 }, "f32");
    const statistics = draw({ shape: [2, 33], mean: 3, deviation: 0.2 }, "f32");
    const running = { "running-mean": vector(), "running-variance": vector() };
    const of = (images: Value) => g.apply(batchNormStatistics, { x: images }).statistics;
    return {
      ofImages: of(x),
      ofConvolution: of(conv2d(x, w)),
      ...g.apply(
        batchNormFinalize,
        { statistics, ...running },
        { epsilon: 1e-5, decay: 0.9, gain: 0.1 },
      ),
    };
  };

const roundedFilters =
  (dtype: Type): Build =>
  (source) => {
    const { g } = source;
    const draw = source.draw.bind(source);
    const [x, dy] = [draw({ shape: [3, 7, 9, 16] }, dtype), draw({ shape: [3, 4, 5, 24] }, dtype)];
    const attributes = convolutionAttributes({ stride: 2, padding: 1 });
    return g.apply(conv2dBackwardWeightRounded, { x, dy }, attributes, { sizes: { R: 3, S: 3 } });
  };

/** A case in the types that it runs in. */
interface Member {
  /** Of the op book. */
  family?: string;
  name: string;
  types: readonly Type[];
  /** Whether it runs only where there is a GPU. */
  isLarge: boolean;
  /** The op that the device must have. */
  needs?: string;
  build: (T: Type) => Build;
  /** Compares it with PyTorch, in the first of its types. */
  compare?: (device: Device) => Promise<OracleFinding[]>;
}

const allTypes: readonly Type[] = ["f32", "bf16", "f16"];

interface Row {
  name: string;
  dtype?: Type;
}

/** The cases of a family, those of f32 in bf16 and f16 too. */
function membersOf<F extends { family: string } & Record<"rows", readonly Row[]>>(
  family: F & Partial<Record<"sizes" | "large", readonly Row[]>>,
  build: (family: F, row: CaseRow) => Build,
  compare: (device: Device, family: F, row: CaseRow) => Promise<OracleFinding[]>,
): Member[] {
  const named = (row: Row, isLarge: boolean) => ({
    family: family.family,
    name: `${family.family}: ${row.name}`,
    types: row.dtype === undefined || row.dtype === "f32" ? allTypes : [row.dtype],
    isLarge,
    build: (dtype: Type) => build(family, { ...row, dtype }),
  });
  return [
    ...family.rows.map((row) => ({
      ...named(row, false),
      compare: (device: Device) => compare(device, family, row as CaseRow),
    })),
    ...(family.sizes ?? []).map((row) => named(row, false)),
    ...(family.large ?? []).map((row) => named(row, true)),
  ];
}

const fused: Member[] = [
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
  {
    name: "BN, running, pooled",
    build: normalized([2, 7, 6, 24], { relu: true, training: false, pool: true }),
  },
  { name: "BN, statistics apart", build: statisticsApart },
  {
    name: "filter gradient, rounded",
    needs: conv2dBackwardWeightRounded.name,
    build: roundedFilters,
  },
  { isLarge: true, name: "BN, many pixels", build: normalized([8, 57, 55, 64], { relu: true }) },
  {
    isLarge: true,
    name: "BN, many channels",
    build: normalized([5, 7, 7, 2048], { relu: true, residual: true }),
  },
].map((member) => ({ types: allTypes, isLarge: false, ...member }));

const members: readonly Member[] = [
  ...caseFamilies.flatMap((family) => membersOf(family, ofFamily, compareCase)),
  ...updateFamilies.flatMap((family) => membersOf(family, ofUpdate, compareUpdate)),
  ...fused,
];

function makeCase(name: string, build: Build, operations: ReadonlySet<string>): OpCase {
  const g = new Graph();
  const results = build(new Source(g, name));
  const program = parse(programOf(g, Object.values(results), operations));
  const arenas = arenasOf(program);
  for (const { value, bytes } of g.constants)
    arenas.get(value.storage.arena)!.set(bytes, value.storage.offset);
  return { name, program, arenas };
}

/** A case of the op book, or of batch norm as fusion joins it. */
export interface BookCase extends OpCase {
  family: string | undefined;
  /** Compares it with PyTorch, where a fixture holds what that computed. */
  compare: Member["compare"];
}

/** Those of one size. */
export function* bookCases(operations: ReadonlySet<string>, isLarge: boolean): Generator<BookCase> {
  for (const T of ["bf16", "f32", "f16"] as const)
    for (const { name, family, types, build, compare, needs, ...member } of members) {
      if (member.isLarge !== isLarge || !types.includes(T)) continue;
      if (needs !== undefined && !operations.has(needs)) continue;
      const opCase = makeCase(`${name}, ${T}`, build(T), operations);
      yield { ...opCase, family, compare: T === types[0] ? compare : undefined };
    }
}

/**
 * The odd sizes of the op book for compute-sanitizer's race check, which is slow: those first that have an op
 * in a type that none before has.
 */
export function raceCases(operations: ReadonlySet<string>): OpCase[] {
  const seen = new Set<string>();
  const [first, others]: [OpCase[], OpCase[]] = [[], []];
  for (const opCase of bookCases(operations, false)) {
    const before = seen.size;
    for (const { op, inputs } of opCase.program.instructions)
      seen.add(`${op} ${inputs.map(({ dtype }) => dtype)}`);
    (seen.size > before ? first : others).push(opCase);
  }
  return [...first, ...others];
}

/**
 * All cases, the most important first: training steps in bf16 as fusion makes them, then odd sizes in
 * all types, then large ones, then the other precisions of whole steps and deep networks.
 */
export function* opCases(options: OpCaseOptions): Generator<OpCase> {
  const { operations, small, tf32 } = options;
  const others = ["fp32", ...(tf32 ? (["tf32"] as const) : []), "fp16"] as const;
  const [shallow, ...deep] = networks;
  yield* networkCases(shallow, "bf16", options);
  yield* bookCases(operations, false);
  for (const precision of others) yield* networkCases(shallow, precision, options);
  if (small) return;
  yield* bookCases(operations, true);
  for (const precision of ["bf16", ...others] as const)
    for (const network of deep) yield* networkCases(network, precision, options);
}
