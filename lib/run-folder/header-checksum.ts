// The checksum of a safetensors header lies within that header, and is computed with zeros in its place, so
// that every reader of the format takes the file.

import { crc32 } from "node:zlib";

const field = "headerChecksum";
const zeros = "00000000";
const written = new RegExp(`"${field}":"([0-9a-f]{${zeros.length}})"`, "g");

/** The metadata of a header that `seal` completes. */
export const unsealed = { [field]: zeros };

/** Whether metadata hold such a checksum. */
export function isSealed(metadata: Readonly<Record<string, string>>): boolean {
  return Object.hasOwn(metadata, field);
}

/** Where the checksum's digits lie; undefined unless there is one such place. */
function placeIn(head: Buffer): number | undefined {
  const found = [...head.toString("latin1").matchAll(written)]; // a character is a byte
  return found.length === 1 ? found[0]!.index + `"${field}":"`.length : undefined;
}

/** CRC-32 in hexadecimal of all of the file before its tensors: the header's length, itself, padding. */
function checksumOf(head: Buffer, place: number): string {
  const before = crc32(head.subarray(0, place));
  const withZeros = crc32(zeros, before);
  return crc32(head.subarray(place + zeros.length), withZeros)
    .toString(16)
    .padStart(zeros.length, "0");
}

/** Writes the checksum into a head that holds `unsealed`. */
export function seal(head: Buffer): void {
  const place = placeIn(head)!;
  head.write(checksumOf(head, place), place, "latin1");
}

/** Whether a head is as it was sealed. */
export function hasIntactSeal(head: Buffer): boolean {
  const place = placeIn(head);
  if (place === undefined) return false;
  const digits = head.toString("latin1", place, place + zeros.length);
  return digits === checksumOf(head, place);
}
