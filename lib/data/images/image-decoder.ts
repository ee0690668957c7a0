// Decodes images to squares, natively or with sharp, and reports those that neither can read.

import type { AddonDecoder, ImageRequest } from "../../device/addon.js";
import { shareOfCores } from "../../device/cores.js";
import { createDecoder, native } from "../../device/native.js";
import { OnehourError } from "../../errors.js";
import { openRegular } from "../../system/regular-file.js";
import { decodeForeign } from "./foreign-image.js";

/** An image that was not as it should be. */
export interface Flaw {
  /** Index in the request. */
  image: number;
  /** Whether nothing of it could be decoded; else its missing part is filled in. */
  lost: boolean;
  reason: string;
}

/** Seconds that the threads took to read and to decode, since the start. */
export interface Timing {
  images: number;
  /** Of all threads together. */
  readSeconds: number;
  decodeSeconds: number;
}

/** The part of a request that is about one image. */
const one = (numbers: Float64Array | undefined, image: number, of: number) =>
  numbers?.subarray((image * numbers.length) / of, ((image + 1) * numbers.length) / of);

function unreadable(file: string, reason: string): OnehourError {
  return new OnehourError(
    "ERR_ONEHOUR_DATA",
    `cannot read ${file} (${reason}); expected the file that was there when the folder was listed. ` +
      "Is the disk failing, or has the folder changed?",
  );
}

/** The bytes of one image of a request. */
async function read({ files, offsets, lengths }: ImageRequest, image: number): Promise<Buffer> {
  const file = files[image]!;
  try {
    await using handle = await openRegular(file);
    const length = lengths?.[image] ?? (await handle.stat()).size;
    const bytes = Buffer.alloc(length);
    const { bytesRead } = await handle.read(bytes, 0, length, offsets?.[image] ?? 0);
    return bytes.subarray(0, bytesRead);
  } catch (error) {
    throw unreadable(file, (error as Error).message);
  }
}

/** Threads that decode images. */
export class ImageDecoder {
  private decoder: AddonDecoder;
  readonly timing: Timing = { images: 0, readSeconds: 0, decodeSeconds: 0 };

  constructor(readonly threads: number) {
    this.decoder = createDecoder(threads);
  }

  /**
   * Decodes a batch into its target and resolves with what was wrong, in the order of the images.
   * An image that is lost leaves its place unspecified. Throws ERR_ONEHOUR_DATA when a file cannot
   * be read.
   */
  async decode(request: ImageRequest): Promise<Flaw[]> {
    const { files, size } = request;
    const outcome = await this.decoder.decode(request);
    this.timing.images += files.length;
    this.timing.readSeconds += outcome.readSeconds;
    this.timing.decodeSeconds += outcome.decodeSeconds;
    const flaws: Flaw[] = [];
    for (const { image, trouble, message } of outcome.problems) {
      if (trouble === "unreadable") {
        throw unreadable(files[image]!, message);
      }
      if (trouble !== "foreign") {
        flaws.push({ image, lost: trouble === "undecoded", reason: message });
        continue;
      }
      const start = performance.now();
      const encoded = await read(request, image);
      try {
        const { pixels, width, height, damage } = await decodeForeign(encoded);
        const bytes = size * size * 3;
        const crops = one(request.crops, image, files.length);
        const jitters = one(request.jitters, image, files.length);
        await this.decoder.resample({
          pixels,
          width,
          height,
          target: request.target.subarray(image * bytes, (image + 1) * bytes),
          size,
          shortSide: request.shortSide,
          ...(crops ? { crops } : {}),
          ...(jitters ? { jitters } : {}),
        });
        if (damage !== undefined) flaws.push({ image, lost: false, reason: damage });
      } catch (error) {
        flaws.push({ image, lost: true, reason: (error as Error).message });
      }
      this.timing.decodeSeconds += (performance.now() - start) / 1000;
      native.advanceProgress();
    }
    return flaws;
  }

  dispose(): void {
    this.decoder.dispose();
  }
}

/**
 * Decodes a sample on one thread and starts as many threads as keep a worker's share of the cores
 * busy: more than the share where reading takes time besides decoding.
 */
export async function startDecoder(
  sample: ImageRequest,
  localWorkers: number,
): Promise<ImageDecoder> {
  const share = shareOfCores(localWorkers);
  const trial = new ImageDecoder(1);
  try {
    await trial.decode(sample);
    const { readSeconds, decodeSeconds } = trial.timing;
    const busy = decodeSeconds / Math.max(readSeconds + decodeSeconds, 1e-9);
    return new ImageDecoder(Math.min(4 * share, Math.ceil(share / Math.max(busy, 0.25))));
  } finally {
    trial.dispose();
  }
}
