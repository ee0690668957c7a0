// Signatures of ops (`x:T[N,H,W,C] w:T[K,R,S,C] -> y:T[N,P,Q,K]`): matching inputs, inferring outputs.
import { OnehourError } from "../errors.js";
import type { DataType, TensorType } from "./tensor.js";

export type Attribute = number | string | readonly number[];
export type Attributes = Record<string, Attribute>;

/** Sizes (N, C, …) and element types (T, …) that a signature's letters stand for. */
export interface Bindings {
  sizes: Record<string, number>;
  types: Record<string, DataType>;
}

/** What of an op its operands follow from. */
export interface Signed {
  readonly name: string;
  /**
   * `x:T[N,H,W,C] w:T[K,R,S,C] -> y:T[N,P,Q,K]`. A letter has one meaning in a signature; `[...]` is
   * any one shape; `?` marks an operand that may be absent. An output named like a given input
   * overwrites it.
   */
  readonly signature: string;
  /** Sizes of the outputs that the inputs do not show; throws where the inputs make no sense. */
  readonly derive?: (bindings: Bindings, attributes: Attributes) => void;
}

/** What an application's outputs are derived from, besides the inputs. */
export interface Wanted {
  /** Sizes and types that the inputs do not show. */
  sizes?: Record<string, number>;
  types?: Record<string, DataType>;
  /** Optional outputs that are wanted. */
  optional?: readonly string[];
}

interface Pattern {
  name: string;
  optional: boolean;
  type: string;
  /** Sizes such as `N`, `1`, `2C`, `2C+1`; undefined stands for any one shape (`[...]`). */
  sizes: string[] | undefined;
}

interface Signature {
  inputs: Pattern[];
  outputs: Pattern[];
}

const knownTypes = new Set(["f32", "bf16", "f16", "u8", "i32"]);
/** Letters for element types; T is the type that a network computes in. */
const typeLetters: Record<string, readonly DataType[]> = {
  T: ["f32", "bf16", "f16"],
  U: ["f32", "bf16", "f16", "u8", "i32"],
  V: ["f32", "bf16", "f16", "u8", "i32"],
};

const parsed = new Map<string, Signature>();

function parsePattern(text: string): Pattern {
  const match = /^([a-z0-9-]+)(\??):(\w+)\[(.*)\]$/.exec(text);
  if (match === null) throw new Error(`malformed operand in a signature: ${text}`);
  const [, name = "", optional, type = "", sizes = ""] = match;
  return {
    name,
    optional: optional === "?",
    type,
    sizes: sizes === "..." ? undefined : sizes === "" ? [] : sizes.split(","),
  };
}

function signatureOf(op: Signed): Signature {
  let signature = parsed.get(op.signature);
  if (signature === undefined) {
    const [inputs = "", outputs = ""] = op.signature.split(" -> ");
    const patterns = (side: string) => side.split(" ").filter(Boolean).map(parsePattern);
    signature = { inputs: patterns(inputs), outputs: patterns(outputs) };
    parsed.set(op.signature, signature);
  }
  return signature;
}

/** Operand names in the order of the signature, in which the program text lists them. */
export function operandNames(op: Signed): { inputs: string[]; outputs: string[] } {
  const { inputs, outputs } = signatureOf(op);
  return { inputs: inputs.map((p) => p.name), outputs: outputs.map((p) => p.name) };
}

/** Names of the outputs that a node may leave out. */
export function optionalOutputs(op: Signed): Set<string> {
  const optional = signatureOf(op).outputs.filter((pattern) => pattern.optional);
  return new Set(optional.map((pattern) => pattern.name));
}

interface Linear {
  factor: number;
  letter: string;
  add: number;
}

function linear(size: string): Linear {
  const match = /^(\d*)([A-Za-z]*)(?:\+(\d+))?$/.exec(size);
  if (match === null) throw new Error(`malformed size in a signature: ${size}`);
  const [, digits = "", letter = "", add = "0"] = match;
  return letter === ""
    ? { factor: 0, letter, add: Number(digits) }
    : { factor: digits === "" ? 1 : Number(digits), letter, add: Number(add) };
}

/** The size if its letter is bound. */
function evaluateSize(size: string, sizes: Bindings["sizes"]): number | undefined {
  const { factor, letter, add } = linear(size);
  if (letter === "") return add;
  const value = sizes[letter];
  return value === undefined ? undefined : factor * value + add;
}

function matchSize(size: string, actual: number, sizes: Bindings["sizes"]): boolean {
  const expected = evaluateSize(size, sizes);
  if (expected !== undefined) return expected === actual;
  const { factor, letter, add } = linear(size);
  const value = (actual - add) / factor;
  if (!Number.isInteger(value) || value < 0) return false;
  sizes[letter] = value;
  return true;
}

function matchType(type: string, actual: DataType, types: Bindings["types"]): boolean {
  if (knownTypes.has(type)) return type === actual;
  const bound = types[type];
  if (bound !== undefined) return bound === actual;
  if (!typeLetters[type]?.includes(actual)) return false;
  types[type] = actual;
  return true;
}

interface Match extends Bindings {
  /** What `[...]` stands for. */
  any: readonly number[] | undefined;
}

function matchShape(pattern: Pattern, shape: readonly number[], match: Match): boolean {
  if (pattern.sizes === undefined) {
    match.any ??= shape;
    return match.any.length === shape.length && match.any.every((size, i) => size === shape[i]);
  }
  return (
    pattern.sizes.length === shape.length &&
    pattern.sizes.every((size, i) => matchSize(size, shape[i] ?? -1, match.sizes))
  );
}

/** `w:f32[K,R,S,16]`: the pattern with everything known filled in. */
function describe(pattern: Pattern, match: Match): string {
  const type = match.types[pattern.type] ?? pattern.type;
  const sizes = pattern.sizes
    ? pattern.sizes.map((size) => evaluateSize(size, match.sizes) ?? size)
    : (match.any ?? ["..."]);
  return `${pattern.name}:${type}[${sizes.join(",")}]`;
}

/** `x:f32[32,28,28,1]`, as in the program text. */
export function describeTensor(name: string, tensor: TensorType): string {
  return `${name}:${tensor.dtype}[${tensor.shape.join(",")}]`;
}

/** A shape error of an op: what was expected, what came. */
export function shapeError(op: string, expected: string, got: string): OnehourError {
  return new OnehourError("ERR_ONEHOUR_SHAPE", `[${op}] expected ${expected}, got ${got}`);
}

/** Types of the outputs; throws a shape error that names the first operand that does not fit. */
export function inferTypes(
  op: Signed,
  inputs: Readonly<Record<string, TensorType>>,
  attributes: Attributes,
  options: Wanted,
): Record<string, TensorType> {
  const signature = signatureOf(op);
  const match: Match = { sizes: { ...options.sizes }, types: { ...options.types }, any: undefined };
  const outputNames = new Set(signature.outputs.map((p) => p.name));
  for (const pattern of signature.inputs) {
    const tensor = inputs[pattern.name];
    if (tensor === undefined) {
      if (pattern.optional) continue;
      throw shapeError(op.name, describe(pattern, match), "no such operand");
    }
    const before: Match = { sizes: { ...match.sizes }, types: { ...match.types }, any: match.any };
    if (
      !matchType(pattern.type, tensor.dtype, match.types) ||
      !matchShape(pattern, tensor.shape, match)
    ) {
      const known = Object.entries(inputs)
        .filter(([name]) => name !== pattern.name && !outputNames.has(name))
        .map(([name, other]) => describeTensor(name, other))
        .join(" ");
      throw shapeError(
        op.name,
        describe(pattern, before),
        describeTensor(pattern.name, tensor) + (known === "" ? "" : ` (with ${known})`),
      );
    }
  }
  op.derive?.(match, attributes);
  const result: Record<string, TensorType> = {};
  for (const pattern of signature.outputs) {
    if (pattern.optional && !options.optional?.includes(pattern.name)) continue;
    const given = inputs[pattern.name];
    if (given !== undefined) {
      result[pattern.name] = { shape: given.shape, dtype: given.dtype };
      continue;
    }
    const shape = pattern.sizes
      ? pattern.sizes.map((size) => evaluateSize(size, match.sizes))
      : [...(match.any ?? [])];
    const dtype = match.types[pattern.type] ?? pattern.type;
    if (shape.includes(undefined) || !knownTypes.has(dtype))
      throw new Error(`${op.name} does not determine ${describe(pattern, match)}`);
    result[pattern.name] = { shape: shape as number[], dtype: dtype as DataType };
  }
  return result;
}
