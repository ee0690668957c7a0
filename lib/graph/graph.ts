// The op graph: values, nodes in execution order, and the description of an op (signature and rules).
import { bytesOf } from "../arrays/bytes-of.js";
import { OnehourError } from "../errors.js";
import { printable } from "../text/words.js";
import { type ConstantData, constantType, requireElements } from "./constant.js";
import { type ArenaName, arenaNames, type Instruction, type StreamName } from "./program.js";
import {
  type Attributes,
  inferTypes,
  operandNames,
  type Signed,
  type Wanted,
} from "./signature.js";
import {
  bf16FromFloat32,
  type DataType,
  elementBytes,
  elements,
  f16FromFloat32,
  type TensorType,
} from "./tensor.js";

export { type ArenaName, arenaNames, type StreamName } from "./program.js";
export type { Attribute, Attributes, Bindings } from "./signature.js";
export * from "./tensor.js";

/** Bytes that a value lies in. Values share it where an op overwrites its input. */
export class Storage {
  constructor(
    readonly bytes: number,
    public arena: ArenaName = "temp",
    public offset = -1,
  ) {}
}

/** A tensor of a graph: dense, row-major, NHWC for images and KRSC for filters. */
export class Value implements TensorType {
  constructor(
    readonly graph: Graph,
    readonly shape: readonly number[],
    readonly dtype: DataType,
    public storage: Storage,
    /** The node that computes it; absent for inputs, constants and parameters. */
    public node?: Node,
  ) {}
}

/** One application of an op. */
export interface Node {
  readonly op: Op;
  readonly stream: StreamName;
  readonly attributes: Attributes;
  readonly inputs: Record<string, Value>;
  readonly outputs: Record<string, Value>;
  /** Where in the model it comes from, e.g. `layer1.0.conv1`. */
  readonly label: string;
}

/** An op: its operands as one line of text and its rules. */
export interface Op<Outputs extends string = string> extends Signed {
  /**
   * Gradients of the inputs by name. `d` holds the gradients of the outputs, `wants` says which
   * inputs need one.
   */
  readonly gradient?: (
    node: Node,
    d: Readonly<Record<string, Value>>,
    wants: (input: string) => boolean,
  ) => Record<string, Value | undefined>;
  /**
   * Inputs whose bytes an output may take when they are not read afterwards: the kernel reads an
   * element before it writes the one at the same place, and saves fetching lines only to overwrite
   * them.
   */
  readonly replaces?: Readonly<Record<string, readonly string[]>>;
  /**
   * Multiply-adds of an op that is a sum of products, from the shapes of its operands. Such an op may
   * compute on tensor cores, and a vendor's library wholly in its operands' type.
   */
  readonly products?: (shapes: Readonly<Record<string, readonly number[]>>) => number;
  /**
   * The instructions that compute the same. Fusion alone makes such an op, where the backend has a
   * kernel for it. What one only hands on to the next has the offset −1.
   */
  readonly expand?: (instruction: Instruction) => Instruction[];
  /** Whether it exchanges data between ranks. */
  readonly communicates?: true;
  /** For the result's type only. */
  readonly outputs?: readonly Outputs[];
}

export interface ApplyOptions extends Wanted {
  stream?: StreamName;
  /** Where outputs have to lie. */
  into?: Record<string, Storage>;
}

/** The ops that the loaded files declare, by their names in the program text. */
export const definedOps = new Map<string, Op>();

/** Declares an op; `Outputs` are the names of its outputs. */
export function defineOp<Outputs extends string>(op: Op<Outputs>): Op<Outputs> {
  if (definedOps.has(op.name)) throw new Error(`two ops have the name ${op.name}`);
  definedOps.set(op.name, op);
  return op;
}

/** Rounds up to 64 bytes, where tensors start. */
export function align(bytes: number, multiple = 64): number {
  return Math.ceil(bytes / multiple) * multiple;
}

function constantBytes(data: ConstantData, dtype: DataType): Uint8Array {
  const isFloat = data instanceof Float32Array;
  if (dtype === "bf16" && isFloat) return bytesOf(bf16FromFloat32(data));
  if (dtype === "f16" && isFloat) return bytesOf(f16FromFloat32(data));
  return bytesOf(data).slice();
}

/** A list of nodes in the order in which they run, and the leaves that they start from. */
export class Graph {
  nodes: Node[] = [];
  readonly constants: { value: Value; bytes: Uint8Array }[] = [];
  /** Bytes laid out so far in the arenas that are filled in the order of declaration. */
  readonly arenaBytes = Object.fromEntries(arenaNames.map((name) => [name, 0])) as Record<
    ArenaName,
    number
  >;
  /** Where in the model nodes are being made. */
  label = "";

  /** Takes the next `bytes` of an arena, at a multiple of 64. */
  reserve(arena: ArenaName, bytes: number): Storage {
    const storage = new Storage(bytes, arena, this.arenaBytes[arena]);
    this.arenaBytes[arena] = align(this.arenaBytes[arena] + bytes);
    return storage;
  }

  /** A value that no node computes, in the given storage or in new one. */
  leaf(shape: readonly number[], dtype: DataType, storage?: Storage): Value {
    const bytes = elements(shape) * elementBytes[dtype];
    return new Value(this, shape, dtype, storage ?? new Storage(bytes));
  }

  /** A tensor that arrives with each submission, in the slot of the `input` arena. */
  input(shape: readonly number[], dtype: DataType = "f32"): Value {
    return this.leaf(shape, dtype, this.reserve("input", elements(shape) * elementBytes[dtype]));
  }

  /**
   * A tensor with known contents.
   *
   * @param data row-major elements: Float32Array (f32, or bf16 or f16 where `dtype` says so),
   *   Int32Array (i32), Uint8Array (u8), Uint16Array (the bits of bf16, or of f16 where `dtype` says so)
   * @param shape sizes; their product is the number of elements
   * @throws OnehourError ERR_ONEHOUR_SHAPE when the two disagree, and for other arrays
   */
  constant(data: ConstantData, shape: readonly number[], dtype?: DataType): Value {
    const type = constantType(data, dtype);
    requireElements(data, shape, type);
    const bytes = constantBytes(data, type);
    const value = this.leaf(shape, type);
    value.storage.arena = "input";
    this.constants.push({ value, bytes });
    return value;
  }

  /** Nodes made inside carry this label in the program text, which takes no control characters. */
  within<R>(label: string, build: () => R): R {
    const outer = this.label;
    this.label = printable(label);
    try {
      return build();
    } finally {
      this.label = outer;
    }
  }

  /**
   * Appends a node.
   *
   * @throws OnehourError ERR_ONEHOUR_SHAPE naming the operand that does not fit the signature
   */
  apply<Outputs extends string>(
    op: Op<Outputs>,
    inputs: Readonly<Record<string, Value | undefined>>,
    attributes: Attributes = {},
    options: ApplyOptions = {},
  ): Record<Outputs, Value> {
    const given: Record<string, Value> = {};
    for (const name of operandNames(op).inputs) {
      const value = inputs[name];
      if (value === undefined) continue;
      if (value.graph !== this)
        throw new OnehourError(
          "ERR_ONEHOUR_GRAPH",
          `[${op.name}] ${name} belongs to another graph; build both operands in one graph`,
        );
      given[name] = value;
    }
    const types = inferTypes(op, given, attributes, options);
    const outputs: Record<string, Value> = {};
    const node: Node = {
      op,
      stream: options.stream ?? "compute",
      attributes,
      inputs: given,
      outputs,
      label: this.label,
    };
    for (const [name, type] of Object.entries(types)) {
      const storage =
        given[name]?.storage ??
        options.into?.[name] ??
        new Storage(elements(type.shape) * elementBytes[type.dtype]);
      outputs[name] = new Value(this, type.shape, type.dtype, storage, node);
    }
    this.nodes.push(node);
    return outputs as Record<Outputs, Value>;
  }
}
