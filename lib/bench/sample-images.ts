// Makes images to decode: JPEGs with the statistics of photographs, in ImageNet's layout.
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Purpose, Random } from "../data/random.js";

const width = 500;
const height = 375;
const quality = 90;
const classes = 4;
const shapes = 12;

const octaves = 9; // cells of 256 pixels to 1
/** Standard deviation of the grey noise of one octave, of 255, in the smoothest and roughest image. */
const smoothest = 3;
const roughest = 15;
/** What each octave has of color, in parts of its grey. */
const colorfulness = 0.35;

/** Adds uniform noise on a grid of cells of 2^`level` pixels, interpolated linearly. */
function addOctave(plane: Float32Array, level: number, deviation: number, random: Random): void {
  const cell = 2 ** level;
  const columns = Math.ceil(width / cell) + 1;
  const rows = Math.ceil(height / cell) + 1;
  const reach = deviation * 2 * Math.sqrt(3);
  let noise = random.uint32() | 1;
  const grid = new Float32Array(columns * rows);
  for (let i = 0; i < grid.length; i++) {
    noise ^= noise << 13; // xorshift32 (Marsaglia 2003): a million numbers an image
    noise ^= noise >>> 17;
    noise ^= noise << 5;
    grid[i] = (noise / 2 ** 32) * reach;
  }
  const row = new Float32Array(columns);
  for (let y = 0; y < height; y++) {
    const above = (y >> level) * columns;
    const down = y / cell - (y >> level);
    for (let i = 0; i < columns; i++) {
      row[i] = (1 - down) * grid[above + i]! + down * grid[above + columns + i]!;
    }
    for (let x = 0; x < width; x++) {
      const left = x >> level;
      const right = x / cell - left;
      plane[y * width + x]! += (1 - right) * row[left]! + right * row[left + 1]!;
    }
  }
}

/** Octaves of the same deviation: a spectrum of 1/f, as photographs have (Field 1987). */
function noisePlane(deviation: number, random: Random): Float32Array {
  const plane = new Float32Array(width * height);
  for (let level = 0; level < octaves; level++) addOctave(plane, level, deviation, random);
  return plane;
}

/** An ellipse with a soft edge, mixed into the three planes. */
function addShape(planes: readonly Float32Array[], random: Random): void {
  const [left, top] = [random.uniform() * width, random.uniform() * height];
  const [across, down] = [10 + random.uniform() * 90, 10 + random.uniform() * 90];
  const angle = random.uniform() * Math.PI;
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  const colors = planes.map(() => 160 * random.uniform() - 80);
  const reach = Math.max(across, down);
  for (let y = Math.floor(Math.max(0, top - reach)); y < Math.min(height, top + reach); y++) {
    for (let x = Math.floor(Math.max(0, left - reach)); x < Math.min(width, left + reach); x++) {
      const u = (cos * (x - left) + sin * (y - top)) / across;
      const v = (cos * (y - top) - sin * (x - left)) / down;
      const inside = Math.min(1, (1 - Math.sqrt(u * u + v * v)) * reach * 0.5);
      if (inside <= 0) continue;
      for (const [c, plane] of planes.entries()) plane[y * width + x]! += inside * colors[c]!;
    }
  }
}

/** u8[375, 500, 3] of image `index`: the same on every machine but for the last bit of a sine. */
function draw(index: number): Uint8Array {
  const random = new Random(0, Purpose.synthetic, 3, index);
  const deviation = smoothest + (roughest - smoothest) * random.uniform();
  const grey = noisePlane(deviation, random);
  const colors = [0, 1, 2].map(() => noisePlane(colorfulness * deviation, random));
  for (let shape = 0; shape < shapes; shape++) addShape(colors, random);
  const pixels = new Uint8Array(width * height * 3);
  for (const [c, plane] of colors.entries()) {
    for (let i = 0; i < plane.length; i++) {
      pixels[3 * i + c] = Math.min(255, Math.max(0, 128 + grey[i]! + plane[i]!));
    }
  }
  return pixels;
}

/** Writes `count` images to train/CLASS/ and the same ones to val/CLASS/ of `folder`. */
export async function makeImages(folder: string, count: number): Promise<void> {
  const { default: sharp } = await import("sharp");
  for (let index = 0; index < count; index++) {
    const raw = { width, height, channels: 3 as const };
    const bytes = await sharp(draw(index), { raw })
      .jpeg({ quality, chromaSubsampling: "4:2:0" })
      .toBuffer();
    for (const part of ["train", "val"]) {
      const place = join(folder, part, `class${index % classes}`);
      await mkdir(place, { recursive: true });
      await writeFile(join(place, `${index}.JPEG`), bytes);
    }
  }
}
