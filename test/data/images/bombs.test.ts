// Decodes small files that would cost hours or gigabytes: each is lost, and named.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { afterAll, describe, expect, test } from "vitest";
import { ImageDecoder } from "../../../lib/data/images/image-decoder.js";
import { temporaryFolder } from "../../support/folder.js";
import { flat } from "./decoded.js";

const folder = temporaryFolder();
const size = 16;
const images = new ImageDecoder(1);
afterAll(() => images.dispose());

/** The fault of an image; undefined if there is none. */
async function flawOf(name: string, bytes: Buffer) {
  const file = join(folder, name);
  writeFileSync(file, bytes);
  const target = new Uint8Array(size * size * 3);
  const [flaw] = await images.decode({ files: [file], target, size, shortSide: 18 });
  return flaw;
}

interface Segment {
  marker: number;
  bytes: Buffer;
}

const startOfScan = 0xda;
const isFrame = (marker: number) => [0xc0, 0xc1, 0xc2].includes(marker);

/** The segments of a JPEG file between its start and its end, scans with their coefficients. */
function segmentsOf(file: Buffer): Segment[] {
  const segments: Segment[] = [];
  for (let at = 2; file[at + 1] !== 0xd9; ) {
    const marker = file[at + 1]!;
    let end = at + 2 + file.readUInt16BE(at + 2);
    while (marker === startOfScan && !(file[end] === 0xff && file[end + 1] !== 0)) end++;
    segments.push({ marker, bytes: Buffer.from(file.subarray(at, end)) });
    at = end;
  }
  return segments;
}

const jpegOf = (segments: Segment[]) =>
  Buffer.concat([
    Buffer.of(0xff, 0xd8),
    ...segments.map(({ bytes }) => bytes),
    Buffer.of(0xff, 0xd9),
  ]);

/** Another kind of frame, or another size, whatever the scans hold. */
function reframed(file: Buffer, side: number | undefined, marker?: number): Buffer {
  const segments = segmentsOf(file);
  for (const segment of segments.filter((each) => isFrame(each.marker))) {
    if (marker !== undefined) segment.bytes[1] = marker;
    if (side === undefined) continue;
    segment.bytes.writeUInt16BE(side, 5);
    segment.bytes.writeUInt16BE(side, 7);
  }
  return jpegOf(segments);
}

/** The last scan once more, many times. */
function withScans(file: Buffer, more: number): Buffer {
  const segments = segmentsOf(file);
  const last = segments.findLast(({ marker }) => marker === startOfScan)!;
  return jpegOf([...segments, ...Array.from({ length: more }, () => last)]);
}

const full = { chromaSubsampling: "4:4:4" };
const progressive = await flat(640, 480)
  .jpeg({ progressive: true, ...full })
  .toBuffer();
const sequential = await flat(640, 480).jpeg(full).toBuffer();
const cmyk = await flat(640, 480).toColourspace("cmyk").jpeg({ progressive: true }).toBuffer();
const arithmeticSequential = 0xc9;
const arithmeticProgressive = 0xca;

const chunk = (type: string, data: Buffer) => {
  const body = Buffer.concat([Buffer.from(type), data]);
  const ends = Buffer.alloc(8);
  ends.writeUInt32BE(data.length, 0);
  ends.writeUInt32BE(crc32(body), 4);
  return Buffer.concat([ends.subarray(0, 4), body, ends.subarray(4)]);
};

/** Changes the header of a file of each format to claim this many pixels a side. */
const claims: Record<string, (file: Buffer, side: number) => void> = {
  png: (file, side) => {
    const header = Buffer.from(file.subarray(16, 29));
    header.writeUInt32BE(side, 0);
    header.writeUInt32BE(side, 4);
    chunk("IHDR", header).copy(file, 8);
  },
  webp: (file, side) => {
    // Lossless: 14 bits a side after the signature byte 0x2f.
    file.writeUInt32LE((file.readUInt32LE(21) & 0xf0000000) | ((side - 1) << 14) | (side - 1), 21);
  },
  gif: (file, side) => {
    file.writeUInt16LE(side, 6);
    file.writeUInt16LE(side, 8);
    const frame = file.indexOf(Buffer.of(0x2c, 0, 0, 0, 0));
    file.writeUInt16LE(side, frame + 5);
    file.writeUInt16LE(side, frame + 7);
  },
};

async function claiming(format: "png" | "webp" | "gif", side: number): Promise<Buffer> {
  const file = await flat(40, 40).toFormat(format, { lossless: true }).toBuffer();
  claims[format]!(file, side);
  return file;
}

/** A bitmap whose header claims more pixels than it holds. */
function claimingBitmap(side: number): Buffer {
  const file = Buffer.alloc(100);
  file.write("BM");
  for (const [at, value] of [
    [10, 54],
    [14, 40],
    [18, side],
    [22, side],
  ] as const) {
    file.writeUInt32LE(value, at);
  }
  file.writeUInt16LE(24, 28);
  return file;
}

const huge = {
  png: await claiming("png", 11584),
  line: await claiming("png", 0x7fffffff),
  webp: await claiming("webp", 11584),
  gif: await claiming("gif", 65535),
  bmp: claimingBitmap(11584),
};

describe("an image that costs too much is lost", () => {
  test.each<[string, Buffer, RegExp]>([
    ["4,000 scans", withScans(progressive, 4000), /more than 100 scans/],
    ["101 scans", withScans(progressive, 92), /more than 100 scans/],
    ["4,000 scans in CMYK", withScans(cmyk, 4000), /more than 100 scans/],
    [
      "4,000 arithmetic scans",
      reframed(withScans(progressive, 4000), undefined, arithmeticProgressive),
      /more than 100 scans/,
    ],
    [
      "scans of many blocks",
      reframed(withScans(progressive, 80), 6400),
      /scans of more than 33554432 blocks/,
    ],
    [
      "coefficients of more memory",
      reframed(progressive, 9400),
      /scans need \d+ MiB of coefficients; expected at most 256/,
    ],
    ["11,584² pixels", reframed(progressive, 11584), /has 11584 × 11584 pixels; expected/],
    ["11,584² pixels in one scan", reframed(sequential, 11584), /has 11584 × 11584 pixels/],
    ["11,584² pixels in CMYK", reframed(cmyk, 11584), /has 11584 × 11584 pixels/],
    [
      "arithmetic coding of many blocks",
      reframed(sequential, 9000, arithmeticSequential),
      /arithmetic coding is of \d+ blocks; expected at most 2097152/,
    ],
    ["11,584² pixels in PNG", huge.png, /pixel limit/],
    ["2³¹ pixels a side in PNG", huge.line, /corrupt header/],
    ["11,584² pixels in WebP", huge.webp, /pixel limit/],
    ["65,535² pixels in GIF", huge.gif, /has 65535 × 65535 pixels/],
    ["11,584² pixels in BMP", huge.bmp, /has 11584 × 11584 pixels/],
    ["9,000² pixels in BMP, of which few are there", claimingBitmap(9000), /cut short/],
    ["9,000² pixels in PPM, of which few are there", Buffer.from("P6 9000 9000 255 "), /cut short/],
    ["9,000² pixels in PPM as text", Buffer.from("P3 9000 9000 255 1 2 3"), /cut short/],
    ["11,584² pixels in PGM", Buffer.from("P5 11584 11584 255 "), /has 11584 × 11584 pixels/],
  ])("%s", async (name, bytes, reason) => {
    expect(bytes.length).toBeLessThan(200_000);
    const flaw = await flawOf(`${name}.jpg`, bytes);
    expect(flaw).toMatchObject({ lost: true, reason: expect.stringMatching(reason) });
  });

  test("but one below the limits is not", async () => {
    expect(await flawOf("progressive.jpg", progressive)).toBeUndefined();
    expect(await flawOf("cmyk.jpg", cmyk)).toBeUndefined();
    // Repeated scans are a sign of damage, no more.
    expect((await flawOf("scans.jpg", withScans(progressive, 40)))?.lost).toBe(false);
    for (const format of ["png", "webp", "gif"] as const) {
      expect(await flawOf(`whole.${format}`, await claiming(format, 40))).toBeUndefined();
    }
  });

  test("and so is a text that sharp would draw", async () => {
    const svg = '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40"></svg>';
    expect(await flawOf("svg.png", Buffer.from(svg))).toMatchObject({
      lost: true,
      reason: expect.stringMatching(/format is not JPEG, PNG/),
    });
  });
});
