// Decodes pictures to squares: JPEG natively, other formats by sharp, and what neither can read is told.

import type { PictureDecoder, PictureRequest } from "../../device/addon.js";
import { usableCores } from "../../device/cores.js";
import { createDecoder, native } from "../../device/native.js";
import { OnehourError } from "../../errors.js";
import { openRegular } from "../../system/regular-file.js";
import { decodeForeign } from "./foreign-picture.js";

/** A picture that was not as it should be. */
export interface Flaw {
  /** Index in the request. */
  picture: number;
  /** Whether nothing of it could be decoded; else its missing part is made up. */
  lost: boolean;
  reason: string;
}

/** How long the threads took for what, since the start. */
export interface Timing {
  pictures: number;
  /** Of all threads together. */
  readSeconds: number;
  decodeSeconds: number;
}

/** The part of a request that is about one picture. */
const one = (numbers: Float64Array | undefined, picture: number, of: number) =>
  numbers?.subarray((picture * numbers.length) / of, ((picture + 1) * numbers.length) / of);

function unreadable(file: string, reason: string): OnehourError {
  return new OnehourError(
    "ERR_ONEHOUR_DATA",
    `cannot read ${file} (${reason}); expected the file that was there when the folder was listed. ` +
      "Is the disk failing, or has the folder changed?",
  );
}

/** The bytes of one picture of a request. */
async function read({ files, offsets, lengths }: PictureRequest, picture: number): Promise<Buffer> {
  const file = files[picture]!;
  try {
    await using handle = await openRegular(file);
    const length = lengths?.[picture] ?? (await handle.stat()).size;
    const bytes = Buffer.alloc(length);
    const { bytesRead } = await handle.read(bytes, 0, length, offsets?.[picture] ?? 0);
    return bytes.subarray(0, bytesRead);
  } catch (error) {
    throw unreadable(file, (error as Error).message);
  }
}

/** Threads that decode pictures. */
export class Pictures {
  private decoder: PictureDecoder;
  readonly timing: Timing = { pictures: 0, readSeconds: 0, decodeSeconds: 0 };

  constructor(readonly threads: number) {
    this.decoder = createDecoder(threads);
  }

  /**
   * Decodes a batch into its target and resolves with what was wrong, in the order of the pictures.
   * A picture that is lost leaves its place unspecified. Throws ERR_ONEHOUR_DATA when a file cannot
   * be read.
   */
  async decode(request: PictureRequest): Promise<Flaw[]> {
    const { files, size } = request;
    const outcome = await this.decoder.decode(request);
    this.timing.pictures += files.length;
    this.timing.readSeconds += outcome.readSeconds;
    this.timing.decodeSeconds += outcome.decodeSeconds;
    const flaws: Flaw[] = [];
    for (const { picture, trouble, message } of outcome.problems) {
      if (trouble === "unreadable") {
        throw unreadable(files[picture]!, message);
      }
      if (trouble !== "foreign") {
        flaws.push({ picture, lost: trouble === "undecoded", reason: message });
        continue;
      }
      const start = performance.now();
      const encoded = await read(request, picture);
      try {
        const { pixels, width, height, damage } = await decodeForeign(encoded);
        const bytes = size * size * 3;
        const crops = one(request.crops, picture, files.length);
        const jitters = one(request.jitters, picture, files.length);
        await this.decoder.resample({
          pixels,
          width,
          height,
          target: request.target.subarray(picture * bytes, (picture + 1) * bytes),
          size,
          shortSide: request.shortSide,
          ...(crops ? { crops } : {}),
          ...(jitters ? { jitters } : {}),
        });
        if (damage !== undefined) flaws.push({ picture, lost: false, reason: damage });
      } catch (error) {
        flaws.push({ picture, lost: true, reason: (error as Error).message });
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
 * busy: more than the share where reading takes its time beside decoding.
 */
export async function startPictures(
  sample: PictureRequest,
  localWorkers: number,
): Promise<Pictures> {
  const share = Math.max(1, Math.floor(usableCores() / localWorkers));
  const trial = new Pictures(1);
  try {
    await trial.decode(sample);
    const { readSeconds, decodeSeconds } = trial.timing;
    const busy = decodeSeconds / Math.max(readSeconds + decodeSeconds, 1e-9);
    return new Pictures(Math.min(4 * share, Math.ceil(share / Math.max(busy, 0.25))));
  } finally {
    trial.dispose();
  }
}
