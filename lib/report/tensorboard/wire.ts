// Protocol Buffers' encoding: the bytes of a field from its number, its type and its value.

const types = { varint: 0, fixed64: 1, delimited: 2, fixed32: 5 } as const;

/** A whole number from 0 to 2⁵³ − 1, seven bits a byte, the lowest first. */
function varint(value: number): number[] {
  const bytes: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return [...bytes, rest];
    bytes.push((rest % 128) | 128);
  }
}

const key = (field: number, type: keyof typeof types) => varint(field * 8 + types[type]);

/** An int32, int64, bool or enum that is not negative. */
export function integer(field: number, value: number): Buffer {
  return Buffer.from([...key(field, "varint"), ...varint(value)]);
}

export function double(field: number, value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleLE(value);
  return Buffer.concat([Buffer.from(key(field, "fixed64")), bytes]);
}

export function float(field: number, value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return Buffer.concat([Buffer.from(key(field, "fixed32")), bytes]);
}

/** A string or bytes. */
export function bytes(field: number, value: string | Uint8Array): Buffer {
  const content = Buffer.from(value as string);
  return Buffer.concat([
    Buffer.from([...key(field, "delimited"), ...varint(content.length)]),
    content,
  ]);
}

/** A message within another, of the fields that it has. */
export const message = (field: number, ...fields: readonly Buffer[]): Buffer =>
  bytes(field, Buffer.concat(fields));
