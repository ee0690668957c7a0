// Reads the development kit's meta.mat, and refuses files that lie or ask for too much.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { deflateSync } from "node:zlib";
import { expect, test } from "vitest";
import { readSynsets } from "../../../lib/data/images/devkit.js";

const folder = join(import.meta.dirname, "../../fixtures/devkit");
const plain = readFileSync(join(folder, "meta-plain.mat"));
const header = plain.subarray(0, 128);

/** A data element, padded to eight bytes but where it is compressed. */
function element(type: number, bytes: Buffer | string): Buffer {
  const content = Buffer.from(bytes);
  const tag = Buffer.alloc(8);
  tag.writeUInt32LE(type, 0);
  tag.writeUInt32LE(content.length, 4);
  const padding = type === 15 ? 0 : -content.length & 7;
  return Buffer.concat([tag, content, Buffer.alloc(padding)]);
}

const int32 = (...values: number[]) => element(5, Buffer.from(Int32Array.from(values).buffer));

/** An array of a class: flags, dimensions, no name, and what is in it. */
const array = (kind: number, ...content: Buffer[]) =>
  element(
    14,
    Buffer.concat([
      element(6, Buffer.of(kind, 0, 0, 0, 0, 0, 0, 0)),
      int32(1, 1),
      element(1, ""),
      ...content,
    ]),
  );

const text = (letters: string) => array(4, element(16, letters));
const number = (value: number) => array(6, int32(value));

/** A file with one table of ILSVRC2012_ID and WNID. */
function fileOf(
  cells: Buffer[],
  width = 16,
  names = "ILSVRC2012_ID\0\0\0WNID\0\0\0\0\0\0\0\0\0\0\0\0",
) {
  return Buffer.concat([header, array(2, int32(width), element(1, names), ...cells)]);
}

const deflated = (content: Buffer) => Buffer.concat([header, element(15, deflateSync(content))]);

test("maps numbers to class names, compressed or not", () => {
  const expected = new Map([
    [1, "b"],
    [2, "a"],
  ]);
  for (const name of ["meta.mat", "meta-plain.mat"]) {
    const found = readSynsets(readFileSync(join(folder, name)));
    for (const [id, synset] of expected) expect(found.get(id)).toBe(synset);
  }
  const own = fileOf([number(7), text("n01440764"), number(8), text("n01443537")]);
  expect([...readSynsets(own)]).toEqual([
    [7, "n01440764"],
    [8, "n01443537"],
  ]);
  expect(readSynsets(deflated(own.subarray(128)))).toEqual(readSynsets(own));
});

/** Arrays in arrays, many deep. */
function nested(depth: number): Buffer {
  let inner = number(1);
  for (let i = 0; i < depth; i++) inner = array(2, int32(5), element(1, "WNID\0"), inner);
  return inner;
}

test.each<[string, Buffer, RegExp]>([
  ["600 MiB of zeros", deflated(Buffer.alloc(600 << 20)), /larger than|buffer/i],
  [
    "much in many parts",
    Buffer.concat([header, ...Array(3).fill(element(15, deflateSync(Buffer.alloc(8 << 20))))]),
    /larger than|buffer/i,
  ],
  ["a large file", Buffer.concat([header, Buffer.alloc(16 << 20)]), /more than 16777216 bytes/],
  ["names without a width", fileOf([number(1), text("n1")], 0), /no width that fits/],
  ["names of a negative width", fileOf([number(1), text("n1")], -4), /no width that fits/],
  ["names of a width that does not fit", fileOf([number(1), text("n1")], 7), /no width that fits/],
  ["no names", Buffer.concat([header, array(2)]), /no width that fits/],
  ["a long name", fileOf([number(1), text("n".repeat(1 << 20))]), /row 1 has no number or no name/],
  ["a name that is none", fileOf([number(1), text("n\0\u{1}")]), /row 1 has no number or no name/],
  [
    "a number with two names",
    fileOf([number(1), text("n1"), number(1), text("n2")]),
    /ILSVRC2012_ID 1 is n1 and n2/,
  ],
  ["a number that is a text", fileOf([text(""), text("n1")]), /row 1 has no number/],
  ["nesting", fileOf([nested(5000), text("n1")]), /row 1 has no number/],
  ["nesting and nothing else", Buffer.concat([header, nested(5000)]), /holds no synsets/],
  ["another file", Buffer.from("PK\x03\x04".repeat(100)), /not a MATLAB file of level 5/],
  ["nothing", Buffer.alloc(0), /not a MATLAB file of level 5/],
  ["a header alone", header, /holds no synsets/],
  [
    "a part that is not deflated",
    Buffer.concat([header, element(15, "none")]),
    /incorrect|invalid/,
  ],
])("refused: %s", (_, file, message) => {
  expect(() => readSynsets(file)).toThrow(message);
});

test("a damaged file is read, or refused with our own message, whatever it holds", () => {
  let seed = 1;
  const below = (count: number) => {
    seed = (seed * 48271) % 0x7fffffff;
    return seed % count;
  };
  for (const name of ["meta.mat", "meta-plain.mat"]) {
    const whole = readFileSync(join(folder, name));
    for (let round = 0; round < 500; round++) {
      const file = Buffer.from(
        whole.subarray(0, round % 3 === 0 ? below(whole.length) : undefined),
      );
      for (let flips = 0; flips < round % 4 && file.length > 128; flips++) {
        file[126 + below(file.length - 126)] = below(256);
      }
      try {
        readSynsets(file);
      } catch (error) {
        expect(error).not.toBeInstanceOf(TypeError);
        if (error instanceof RangeError) expect(error.message).toMatch(/larger than/);
      }
    }
  }
});
