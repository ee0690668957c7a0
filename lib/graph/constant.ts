// The arrays that a constant of a graph may be made of, by the type of its elements.
import { OnehourError } from "../errors.js";
import { plural } from "../text/words.js";
import type { DataType } from "./tensor.js";

export type ConstantData = Float32Array | Int32Array | Uint8Array | Uint16Array;

/** The first type that an array holds elements of is that of its constant. */
const arrays: Readonly<Record<DataType, readonly (new (length: number) => ConstantData)[]>> = {
  f32: [Float32Array],
  i32: [Int32Array],
  u8: [Uint8Array],
  bf16: [Uint16Array, Float32Array],
  f16: [Uint16Array, Float32Array],
};

const dataTypes = Object.keys(arrays) as DataType[];

function refuse(problem: string): OnehourError {
  return new OnehourError("ERR_ONEHOUR_SHAPE", `[constant] ${problem}`);
}

/** A value in words: the kind of an object, the elements of a list, anything else as it is. */
function describe(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(describe).join(", ")}]`;
  if (typeof value !== "object" || value === null) return String(value);
  return value.constructor?.name ?? "an object";
}

const holds = (data: unknown, dtype: DataType): boolean =>
  arrays[dtype].some((kind) => data instanceof kind);

/** The type of a constant; ERR_ONEHOUR_SHAPE for an array that does not hold elements of it. */
export function constantType(data: unknown, dtype: DataType | undefined): DataType {
  if (dtype !== undefined && !dataTypes.includes(dtype)) {
    throw refuse(`expected a type of ${dataTypes.join(", ")}, got ${describe(dtype)}`);
  }
  const type = dtype ?? dataTypes.find((each) => holds(data, each));
  if (type !== undefined && holds(data, type)) return type;
  const accepted = (dtype === undefined ? dataTypes : [dtype]).map(
    (each) => `${arrays[each].map(({ name }) => name).join(" or ")} for ${each}`,
  );
  throw refuse(
    `expected a typed array, ${accepted.join(", ")}; got ${Array.isArray(data) ? "an Array" : describe(data)}. ` +
      "Convert it first, for example by Float32Array.from(values)",
  );
}

/** Refuses what is not a shape, and a shape of another number of elements. */
export function requireElements(data: ConstantData, shape: unknown, dtype: DataType): void {
  const isSize = (size: unknown) => Number.isSafeInteger(size) && (size as number) >= 0;
  if (!Array.isArray(shape) || !shape.every(isSize)) {
    throw refuse(`expected a shape of whole numbers, such as [2, 3], got ${describe(shape)}`);
  }
  const count = shape.reduce((product: number, size: number) => product * size, 1);
  if (data.length === count) return;
  throw refuse(
    `expected ${plural(count, "element")} for ${dtype}[${shape}], got ${data.length}; ` +
      "give as many elements as the shape has",
  );
}
