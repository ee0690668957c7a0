// The development kit of ILSVRC 2012: which class its numbers mean, from meta.mat, a MATLAB file of
// level 5 (MathWorks, "MAT-File Format"), of which this reads what that file needs.

import { inflateSync } from "node:zlib";

/** Types of data elements. */
const compressed = 15;
const matrix = 14;
/** Classes of arrays. */
const structure = 2;
const characters = 4;

/** How the numbers of a data element are stored. */
const numbers: Readonly<Record<number, (bytes: Buffer) => number[]>> = {
  1: (bytes) => [...new Int8Array(bytes)],
  2: (bytes) => [...bytes],
  3: (bytes) => each(bytes, 2, (at) => bytes.readInt16LE(at)),
  4: (bytes) => each(bytes, 2, (at) => bytes.readUInt16LE(at)),
  5: (bytes) => each(bytes, 4, (at) => bytes.readInt32LE(at)),
  6: (bytes) => each(bytes, 4, (at) => bytes.readUInt32LE(at)),
  9: (bytes) => each(bytes, 8, (at) => bytes.readDoubleLE(at)),
  16: (bytes) => [...bytes.toString("utf8")].map((letter) => letter.codePointAt(0)!),
};

const each = (bytes: Buffer, width: number, read: (at: number) => number) =>
  Array.from({ length: Math.floor(bytes.length / width) }, (_, i) => read(i * width));

interface Element {
  type: number;
  bytes: Buffer;
}

/** The data elements that lie one behind the other. */
function elementsOf(bytes: Buffer): Element[] {
  const elements: Element[] = [];
  for (let at = 0; at + 8 <= bytes.length; ) {
    const tag = bytes.readUInt32LE(at);
    if (tag >>> 16) {
      // The small format: length and data within eight bytes.
      elements.push({ type: tag & 0xffff, bytes: bytes.subarray(at + 4, at + 4 + (tag >>> 16)) });
      at += 8;
      continue;
    }
    const length = bytes.readUInt32LE(at + 4);
    if (length > bytes.length - at - 8) throw new Error("it is cut short");
    elements.push({ type: tag, bytes: bytes.subarray(at + 8, at + 8 + length) });
    // All but compressed ones are padded to eight bytes.
    at += 8 + (tag === compressed ? length : Math.ceil(length / 8) * 8);
  }
  return elements;
}

const numbersOf = ({ type, bytes }: Element): number[] => numbers[type]?.(bytes) ?? [];

/** An array: numbers, a text, or records of arrays. */
type MatlabArray = number[] | string | Record<string, MatlabArray>[];

function arrayOf({ bytes }: Element): MatlabArray {
  const [flags, , , ...rest] = elementsOf(bytes);
  const kind = flags ? flags.bytes[0]! : 0;
  if (kind === characters) return String.fromCodePoint(...(rest[0] ? numbersOf(rest[0]) : []));
  if (kind !== structure) return rest[0] ? numbersOf(rest[0]) : [];
  const [width, names, ...cells] = rest;
  const length = numbersOf(width!)[0]!;
  const fields = Array.from({ length: names!.bytes.length / length }, (_, i) =>
    names!.bytes.toString("latin1", i * length, (i + 1) * length).replace(/\0.*$/s, ""),
  );
  return Array.from({ length: Math.floor(cells.length / fields.length) }, (_, i) =>
    Object.fromEntries(fields.map((field, f) => [field, arrayOf(cells[i * fields.length + f]!)])),
  );
}

/** Names of the classes by their ILSVRC2012_ID, from the bytes of meta.mat; throws what is wrong. */
export function readSynsets(file: Buffer): Map<number, string> {
  const header = 128; // bytes
  const names = new Map<number, string>();
  for (const element of elementsOf(file.subarray(header))) {
    const inner =
      element.type === compressed ? elementsOf(inflateSync(element.bytes))[0]! : element;
    if (inner.type !== matrix) continue;
    const value = arrayOf(inner);
    if (!Array.isArray(value)) continue;
    for (const record of value) {
      if (typeof record !== "object") continue;
      const { ILSVRC2012_ID: id, WNID: name } = record;
      if (Array.isArray(id) && typeof id[0] === "number" && typeof name === "string") {
        names.set(id[0], name);
      }
    }
  }
  if (names.size === 0) throw new Error("it holds no synsets with ILSVRC2012_ID and WNID");
  return names;
}
