// Refuses images that sharp would decode at too great a cost or with wrong colors.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { describe, expect, test } from "vitest";
import { decodeForeign } from "../../../lib/data/images/foreign-image.js";
import { flat } from "./decoded.js";

const offsets = 273;
const lengths = 279;

/** A TIFF file of 32-bit numbers, all of whose `strips` are the same bytes. */
function tiffOf(tags: Record<number, number[]>, strip: Buffer, strips = 1): Buffer {
  const repeated = (value: number) => Array.from({ length: strips }, () => value);
  const entries = Object.entries({
    ...tags,
    [offsets]: repeated(0),
    [lengths]: repeated(strip.length),
  }).map(([tag, values]) => ({ tag: Number(tag), values }));
  const table = 10 + 12 * entries.length + 4;
  const outside = entries.filter(({ values }) => values.length > 1);
  const file = Buffer.alloc(table + 4 * outside.flatMap(({ values }) => values).length);
  file.write("II*\0\b");
  file.writeUInt16LE(entries.length, 8);
  let free = table;
  for (const [i, { tag, values }] of entries.entries()) {
    const at = 10 + 12 * i;
    file.writeUInt16LE(tag, at);
    file.writeUInt16LE(4, at + 2);
    file.writeUInt32LE(values.length, at + 4);
    let place = at + 8;
    if (values.length > 1) {
      file.writeUInt32LE(free, place);
      place = free;
      free += 4 * values.length;
    }
    for (const [j, value] of values.entries()) {
      file.writeUInt32LE(tag === offsets ? file.length : value, place + 4 * j);
    }
  }
  return Buffer.concat([file, strip]);
}

const plain = 1;
const deflate = 8;
const jpeg = 7;
const ycbcr = 6;
const rgb = 2;
const tags = (side: [number, number], packing: number, photometry: number, rows: number) => ({
  ...{ 256: [side[0]], 257: [side[1]], 258: [8, 8, 8], 259: [packing], 262: [photometry] },
  ...{ 277: [3], 278: [rows] },
});

/** A progressive JPEG file with its last scan `more` times again. */
async function withScans(more: number): Promise<Buffer> {
  const options = { progressive: true, chromaSubsampling: "4:4:4" } as const;
  const file = await flat(640, 16).jpeg(options).toBuffer();
  const scan = file.subarray(file.lastIndexOf(Buffer.of(0xff, 0xda)), -2);
  const scans = Array.from({ length: more }, () => scan);
  return Buffer.concat([file.subarray(0, -2), ...scans, file.subarray(-2)]);
}

/** JPEG files of 16 rows, one below the other. */
const stripsOf = (file: Buffer) =>
  tiffOf({ ...tags([640, 480], jpeg, ycbcr, 16), 530: [1, 1] }, file, 30);

describe("an image that costs too much is refused before it is decoded", () => {
  test.each<[string, () => Promise<Buffer>, RegExp]>([
    [
      "many scans in each strip of a TIFF file",
      async () => stripsOf(await withScans(80)),
      /maximum scans \(20\)/,
    ],
    [
      "rows of one pixel",
      async () => tiffOf(tags([1, 8e7], deflate, rgb, 8e7), Buffer.alloc(100)),
      /has 1 × 80000000 pixels; expected from 1 to 65535 on each side/,
    ],
    [
      "16 bits a color in TIFF",
      async () =>
        tiffOf({ ...tags([9e3, 9e3], plain, rgb, 1), 258: [16, 16, 16] }, Buffer.alloc(9)),
      /pixels take 464 MiB \(9000 × 9000 of 6 bytes\); expected at most 256/,
    ],
    [
      "16 bits a color in interlaced PNG",
      async () => {
        const image = flat(40, 40).ensureAlpha(0.5).toColourspace("rgb16");
        const file = await image.png({ progressive: true }).toBuffer();
        file.writeUInt32BE(9000, 16);
        file.writeUInt32BE(9000, 20);
        file.writeUInt32BE(crc32(file.subarray(12, 29)), 29);
        return file;
      },
      /pixels take 618 MiB \(9000 × 9000 of 8 bytes\)/,
    ],
    [
      "a large WebP, which is held whole",
      async () => {
        const file = await flat(40, 40).webp({ lossless: true }).toBuffer();
        const side = 6000 - 1; // 14 bits each, after the signature byte of the pixels' first chunk
        const at = file.indexOf("VP8L") + 9;
        file.writeUInt32LE((file.readUInt32LE(at) & 0xf0000000) | (side << 14) | side, at);
        return file;
      },
      /pixels take 275 MiB \(6000 × 6000 of 8 bytes\)/,
    ],
    [
      "more data in PNG than its pixels take",
      async () => {
        const file = await flat(40, 40).png().toBuffer();
        const size = 5 * 2 ** 20;
        const chunk = Buffer.alloc(12 + size);
        chunk.writeUInt32BE(size, 0);
        chunk.write("IDAT", 4);
        chunk.writeUInt32BE(crc32(chunk.subarray(4, 8 + size)), 8 + size);
        const end = file.length - 12;
        return Buffer.concat([file.subarray(0, end), chunk, file.subarray(end)]);
      },
      /40 × 40 pixels take 4800 bytes and the file \d+; expected at most 4 MiB more/,
    ],
  ])("%s", async (_, make, reason) => {
    await expect(decodeForeign(await make())).rejects.toThrow(reason);
  });

  test("but one with as many scans as encoders write is not", async () => {
    const { width, height, pixels } = await decodeForeign(stripsOf(await withScans(0)));
    expect([width, height]).toEqual([640, 480]);
    for (const [i, level] of [200, 90, 30].entries()) {
      expect(Math.abs(pixels[i]! - level)).toBeLessThanOrEqual(2);
    }
  });
});

test("YCbCr outside of JPEG is refused, not taken for red, green and blue", async () => {
  const bytes = Buffer.alloc(8 * 8 * 3, 90);
  const of = (photometry: number) => tiffOf(tags([8, 8], plain, photometry, 8), bytes);
  expect((await decodeForeign(of(rgb))).pixels.slice(0, 3)).toEqual(Uint8Array.of(90, 90, 90));
  await expect(decodeForeign(of(ycbcr))).rejects.toThrow(/colors are YCbCr outside of JPEG/);
});

test("a TIFF file cut within its palette is refused, not taken for grey", async () => {
  const file = readFileSync(join(import.meta.dirname, "../../fixtures/images/formats/palette.tif"));
  expect((await decodeForeign(file)).width).toBe(13);
  const end =
    file.readUInt32LE(file.indexOf(Buffer.of(0x40, 1, 3, 0, 0, 3, 0, 0)) + 8) + 3 * 2 * 256;
  await expect(decodeForeign(file.subarray(0, end - 1))).rejects.toThrow(/cut short/);
});
