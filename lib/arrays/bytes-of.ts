// The memory of a typed array as bytes.

/** u8, on the same memory. */
export function bytesOf(data: NodeJS.TypedArray): Uint8Array<ArrayBuffer> {
  return new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
}
