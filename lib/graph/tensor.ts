// Tensors: element types, shapes, and conversions between types.

/** Element types of tensors. */
export type DataType = "f32" | "bf16" | "f16" | "u8" | "i32";

/** Bytes of one element. */
export const elementBytes: Readonly<Record<DataType, number>> = {
  f32: 4,
  bf16: 2,
  f16: 2,
  u8: 1,
  i32: 4,
};

/** Shape and element type of a tensor. */
export interface TensorType {
  readonly shape: readonly number[];
  readonly dtype: DataType;
}

/** Number of elements of a shape. */
export function elements(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

/** Bits of the nearest bf16, ties to even, as the kernels round. */
export function bf16FromFloat32(data: Float32Array): Uint16Array {
  const bits = new Uint32Array(data.buffer, data.byteOffset, data.length);
  const result = new Uint16Array(bits.length); // `from` with a function would list all elements first
  bits.forEach((b, i) => {
    const nan = Number.isNaN(data[i]);
    result[i] = nan ? (b >>> 16) | 0x40 : (b + 0x7fff + ((b >>> 16) & 1)) >>> 16;
  });
  return result;
}

/** The exact f32 value of each bf16. */
export function float32FromBf16(bits: Uint16Array): Float32Array {
  const result = new Uint32Array(bits.length);
  bits.forEach((b, i) => {
    result[i] = b << 16;
  });
  return new Float32Array(result.buffer);
}
