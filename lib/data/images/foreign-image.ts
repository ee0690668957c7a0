// Decodes with sharp the formats that the native module does not read, within the limits of an image.

import type { Metadata, Sharp } from "sharp";
import { imageLimits } from "../../device/native.js";

/** What files of sharp's formats begin with, in hexadecimal; sharp would read others too, such as SVG. */
const signatures: Readonly<Record<string, RegExp>> = {
  JPEG: /^ffd8/,
  PNG: /^89504e470d0a1a0a/,
  WebP: /^52494646.{8}57454250/,
  TIFF: /^(49492[ab]00|4d4d002[ab])/,
};

/** Bytes of a value, by the name that sharp has for its type. */
const widths: Readonly<Record<string, number>> = {
  uchar: 1,
  char: 1,
  ushort: 2,
  short: 2,
  uint: 4,
  int: 4,
  float: 4,
  double: 8,
  complex: 8,
  dpcomplex: 16,
};

/**
 * Scans of a JPEG file in a strip or tile of a TIFF file. There are as many such files as strips, of few
 * bytes, or of the same ones; encoders write ten scans. libtiff's own limit is 100.
 */
const mostScans = 20;
// libtiff asks for it whenever it opens a file.
process.env.LIBTIFF_JPEG_MAX_ALLOWED_SCAN_NUMBER ??= String(mostScans);

/** An image that was decoded whole. */
interface ForeignImage {
  /** u8[height, width, 3]. */
  pixels: Uint8Array;
  width: number;
  height: number;
  /** What is wrong with it, where a part of it is made up. */
  damage?: string;
}

/** libwebp holds an image whole, and libvips a copy of it, in four bytes a pixel each. */
const webpWidth = 8;
/** What a PNG file may hold besides its pixels: text, profiles. Data beyond the pixels is inflated too. */
const mostBesides = 4 * 2 ** 20;

/** Refuses what would take more memory or time than an image may, by its head and the file's bytes. */
function requireAffordable(
  { format, width, height, channels, depth }: Metadata,
  fileBytes: number,
): void {
  const { bytes, side } = imageLimits();
  if (Math.max(width, height) > side) {
    throw new Error(`it has ${width} × ${height} pixels; expected from 1 to ${side} on each side`);
  }
  const pixel = format === "webp" ? webpWidth : channels * (widths[depth] ?? 16);
  const stored = width * height * pixel;
  if (stored > bytes) {
    throw new Error(
      `its pixels take ${Math.ceil(stored / 2 ** 20)} MiB (${width} × ${height} of ${pixel} bytes); ` +
        `expected at most ${bytes / 2 ** 20}`,
    );
  }
  if (format === "png" && fileBytes > stored + mostBesides) {
    throw new Error(
      `its ${width} × ${height} pixels take ${stored} bytes and the file ${fileBytes}; ` +
        `expected at most ${mostBesides / 2 ** 20} MiB more`,
    );
  }
}

/** Numbers in the tags of a TIFF file's first image, or where they lie if there are several; of BigTIFF none. */
function tiffTags(bytes: Buffer): Map<number, number> {
  const isLittle = bytes[0] === 0x49;
  const read = (at: number, width: 2 | 4): number => {
    if (at + width > bytes.length) return 0;
    return isLittle ? bytes.readUIntLE(at, width) : bytes.readUIntBE(at, width);
  };
  const tags = new Map<number, number>();
  const isClassic = read(2, 2) === 42;
  const first = read(4, 4);
  const count = isClassic ? read(first, 2) : 0;
  for (let entry = first + 2; entry < first + 2 + 12 * count; entry += 12) {
    const isShort = read(entry + 2, 2) === 3 && read(entry + 4, 4) === 1;
    tags.set(read(entry, 2), read(entry + 8, isShort ? 2 : 4));
  }
  return tags;
}

const photometry = { tag: 262, ycbcr: 6 };
const compression = { tag: 259, jpeg: [6, 7] };
const palette = { tag: 320, bits: 258 }; // three 16-bit levels for each value of so many bits

/** Refuses colors that sharp would take for red, green and blue. */
function requireColors(bytes: Buffer): void {
  const tags = tiffTags(bytes);
  // A missing palette would make indices levels of grey.
  const start = tags.get(palette.tag);
  const colors = 2 ** (tags.get(palette.bits) ?? 0);
  if (start !== undefined && start + 3 * 2 * colors > bytes.length) {
    throw new Error("it is cut short: its palette lies beyond its end");
  }
  if (tags.get(photometry.tag) !== photometry.ycbcr) return;
  if (compression.jpeg.includes(tags.get(compression.tag) ?? 0)) return;
  throw new Error("its colors are YCbCr outside of JPEG, which is not read here");
}

async function decodeAs(image: Sharp): Promise<ForeignImage> {
  const { data, info } = await image
    .toColourspace("srgb")
    .removeAlpha()
    .raw({ depth: "uchar" })
    .toBuffer({ resolveWithObject: true });
  const { width, height, channels } = info;
  if (channels === 3) {
    return { pixels: new Uint8Array(data.buffer, data.byteOffset, data.length), width, height };
  }
  const pixels = new Uint8Array(width * height * 3);
  for (let i = 0; i < width * height; i++) pixels.fill(data[i * channels]!, 3 * i, 3 * i + 3);
  return { pixels, width, height };
}

/**
 * Decodes JPEG, PNG, WebP and TIFF, of several images the first. Throws what is wrong where nothing can
 * be decoded or a limit is passed.
 */
export async function decodeForeign(bytes: Buffer): Promise<ForeignImage> {
  const start = bytes.toString("hex", 0, 12);
  const is = (format: string) => signatures[format]!.test(start);
  if (!Object.keys(signatures).some(is)) {
    throw new Error("its format is not JPEG, PNG, WebP, TIFF, GIF, BMP, PPM, PGM or PBM");
  }
  const { default: sharp } = await import("sharp");
  // The orientation that a camera noted is ignored, as it is everywhere for ImageNet; a TIFF file's says
  // how its rows lie. The profile of the colors is ignored too: bytes are taken as they are
  // stored. A JPEG that comes here is CMYK, which means nothing without one.
  const open = (failOn: "error" | "none") =>
    sharp(bytes, {
      failOn,
      autoOrient: is("TIFF"),
      animated: false,
      ignoreIcc: !is("JPEG"),
      limitInputPixels: imageLimits().pixels,
    });
  if (is("TIFF")) requireColors(bytes);
  requireAffordable(await open("none").metadata(), bytes.length);
  try {
    return await decodeAs(open("error"));
  } catch (error) {
    // What is missing of another format would be black, or all of it.
    if (!is("JPEG")) throw error;
    return { ...(await decodeAs(open("none"))), damage: (error as Error).message };
  }
}
