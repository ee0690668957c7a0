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

/** Bits of the nearest f16, ties to even; those of infinity from 65,520 on. */
export function f16FromFloat32(data: Float32Array): Uint16Array {
  const bits = new Uint32Array(data.buffer, data.byteOffset, data.length);
  const result = new Uint16Array(bits.length);
  bits.forEach((b, i) => {
    result[i] = magnitudeOfF16(Math.abs(data[i]!), b & 0x7fffffff) | ((b >>> 16) & 0x8000);
  });
  return result;
}

/** Of a number of 0 or more, and its bits. */
function magnitudeOfF16(value: number, bits: number): number {
  if (Number.isNaN(value)) return 0x7e00;
  if (value >= 65520) return 0x7c00;
  if (value >= 2 ** -14) return (bits - (112 << 23) + 0xfff + ((bits >>> 13) & 1)) >>> 13;
  // Subnormal numbers are multiples of 2⁻²⁴; a sum with 2⁵² rounds to whole ones, ties to even.
  return value * 2 ** 24 + 2 ** 52 - 2 ** 52;
}

/** The value of an f16's bits. */
export function valueOfF16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** The exact f32 value of each f16. */
export function float32FromF16(bits: Uint16Array): Float32Array {
  return Float32Array.from(bits, valueOfF16);
}
