// Maps the numbers of ILSVRC 2012's development kit to classes, from two fields of one table in meta.mat, a
// MATLAB file of level 5 (MathWorks, "MAT-File Format").

import { inflateSync } from "node:zlib";

/** Of the file, and of all that is inflated of it; the kit's own needs a tenth. */
export const mostBytes = 16 << 20;
const mostLetters = 64; // of a class's name
const headerBytes = 128;
const littleEndian = "IM"; // at the header's end

/** Types of data elements. */
const compressed = 15;
const matrix = 14;
/** Classes of arrays. */
const structure = 2;
const characters = 4;
const firstNumeric = 6; // and all above

/** How the numbers of a data element are stored. */
const numbers: Readonly<
  Record<number, { width: number; read(bytes: Buffer, at: number): number }>
> = {
  1: { width: 1, read: (bytes, at) => bytes.readInt8(at) },
  2: { width: 1, read: (bytes, at) => bytes.readUInt8(at) },
  3: { width: 2, read: (bytes, at) => bytes.readInt16LE(at) },
  4: { width: 2, read: (bytes, at) => bytes.readUInt16LE(at) },
  5: { width: 4, read: (bytes, at) => bytes.readInt32LE(at) },
  6: { width: 4, read: (bytes, at) => bytes.readUInt32LE(at) },
  9: { width: 8, read: (bytes, at) => bytes.readDoubleLE(at) },
  16: { width: 1, read: (bytes, at) => bytes.readUInt8(at) }, // UTF-8, of which ASCII is asked
};

interface Element {
  type: number;
  bytes: Buffer;
}

/** The data elements, one after the other. */
function* elementsOf(bytes: Buffer): Generator<Element> {
  for (let at = 0; at + 8 <= bytes.length; ) {
    const tag = bytes.readUInt32LE(at);
    const small = tag >>> 16; // of the small format: length and data within eight bytes
    if (small > 4) throw new Error("a small element has more than four bytes");
    const length = small || bytes.readUInt32LE(at + 4);
    const start = at + (small ? 4 : 8);
    if (start + length > bytes.length) throw new Error("it is cut short");
    yield { type: tag & 0xffff, bytes: bytes.subarray(start, start + length) };
    // All but compressed ones are padded to eight bytes.
    at = small ? at + 8 : start + (tag === compressed ? length : Math.ceil(length / 8) * 8);
  }
}

/** At most `most` numbers of an element. */
function numbersOf(element: Element | undefined, most: number): number[] {
  const kind = numbers[element?.type ?? 0];
  if (!element || !kind) return [];
  const count = Math.min(most, Math.floor(element.bytes.length / kind.width));
  return Array.from({ length: count }, (_, i) => kind.read(element.bytes, i * kind.width));
}

/** An array: its class, and the elements after flags, dimensions and name. */
function partsOf({ type, bytes }: Element): { kind: number; parts: Element[] } {
  if (type !== matrix) return { kind: 0, parts: [] };
  const [flags, , , ...parts] = elementsOf(bytes);
  return { kind: flags?.bytes[0] ?? 0, parts };
}

/** The first number of an array of numbers. */
function numberIn(element: Element): number | undefined {
  const { kind, parts } = partsOf(element);
  return kind >= firstNumeric ? numbersOf(parts[0], 1)[0] : undefined;
}

/** An array of letters, if it is one and short. */
function textIn(element: Element): string | undefined {
  const { kind, parts } = partsOf(element);
  const codes = numbersOf(parts[0], mostLetters + 1);
  const isText = kind === characters && codes.length > 0 && codes.length <= mostLetters;
  return isText && codes.every((code) => code > 0x20 && code < 0x7f)
    ? String.fromCharCode(...codes)
    : undefined;
}

/** The names of a table's fields: texts of one width, padded with zeros. */
function fieldsOf(width: Element | undefined, names: Element | undefined): string[] {
  const [letters = 0] = numbersOf(width, 1);
  if (!names || !(letters >= 1) || names.bytes.length % letters !== 0) {
    throw new Error("the names of a table's fields have no width that fits them");
  }
  return Array.from({ length: names.bytes.length / letters }, (_, i) =>
    names.bytes.toString("latin1", i * letters, (i + 1) * letters).replace(/\0.*$/s, ""),
  );
}

/** Adds the classes of a variable, if it is a table that has them. */
function addSynsets(variable: Element, names: Map<number, string>): void {
  const { kind, parts } = partsOf(variable);
  if (kind !== structure) return;
  const [width, fieldNames, ...cells] = parts;
  const fields = fieldsOf(width, fieldNames);
  const [idAt, nameAt] = [fields.indexOf("ILSVRC2012_ID"), fields.indexOf("WNID")];
  if (idAt < 0 || nameAt < 0) return;
  for (let row = 0; row + fields.length <= cells.length; row += fields.length) {
    const id = numberIn(cells[row + idAt]!);
    const name = textIn(cells[row + nameAt]!);
    if (id === undefined || name === undefined) {
      throw new Error(
        `row ${row / fields.length + 1} has no number or no name of up to ${mostLetters} letters`,
      );
    }
    if ((names.get(id) ?? name) !== name) {
      throw new Error(`its ILSVRC2012_ID ${id} is ${names.get(id)} and ${name}`);
    }
    names.set(id, name);
  }
}

/** Names of the classes by their ILSVRC2012_ID, from the bytes of meta.mat; throws what is wrong. */
export function readSynsets(file: Buffer): Map<number, string> {
  if (file.length > mostBytes) throw new Error(`it has more than ${mostBytes} bytes`);
  if (file.toString("latin1", headerBytes - 2, headerBytes) !== littleEndian) {
    throw new Error("it is not a MATLAB file of level 5; expected the development kit's own");
  }
  const names = new Map<number, string>();
  let left = mostBytes;
  for (const element of elementsOf(file.subarray(headerBytes))) {
    if (element.type !== compressed) {
      addSynsets(element, names);
      continue;
    }
    const inflated = inflateSync(element.bytes, { maxOutputLength: Math.max(1, left) });
    left -= inflated.length;
    const [variable] = elementsOf(inflated);
    if (variable) addSynsets(variable, names);
  }
  if (names.size === 0) throw new Error("it holds no synsets with ILSVRC2012_ID and WNID");
  return names;
}
