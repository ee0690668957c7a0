// Fashion-MNIST (Xiao et al. 2017) from its four idx files, gzipped or not.

import { createHash } from "node:crypto";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import { OnehourError, UsageError } from "../../errors.js";
import { readRegular } from "../../system/regular-file.js";
import { plural } from "../../text/words.js";
import type { Dataset, Split } from "../dataset.js";

/** Where Debian's and Ubuntu's package dataset-fashion-mnist puts the files. */
const packagedFolder = "/usr/share/datasets/fashion-mnist";
const side = 28; // pixels
const classes = 10;

function damaged(file: string, problem: string): OnehourError {
  return new OnehourError(
    "ERR_ONEHOUR_DATA",
    `${file}: ${problem}; expected a file of Fashion-MNIST in idx format, gzipped or not. ` +
      "Fetch it again, or install the package: sudo apt-get install dataset-fashion-mnist",
  );
}

/**
 * The unsigned bytes of an idx file with the given dimensions (0: any number there); the first
 * dimension is returned as `count`. Throws ERR_ONEHOUR_DATA naming `file` when anything is off.
 */
function parseIdx(
  bytes: Buffer,
  dimensions: readonly number[],
  file: string,
): { count: number; data: Buffer } {
  const header = 4 + 4 * dimensions.length;
  if (bytes.length < header) {
    throw damaged(
      file,
      `it has ${plural(bytes.length, "byte")}, too few for a header of ${header}`,
    );
  }
  const magic = 0x0800 + dimensions.length;
  if (bytes.readUInt32BE(0) !== magic) {
    const found = bytes.subarray(0, 4).toString("hex");
    throw damaged(
      file,
      `it begins with 0x${found}, not 0x${magic.toString(16).padStart(8, "0")} ` +
        `(unsigned bytes in ${dimensions.length} dimension${dimensions.length > 1 ? "s" : ""})`,
    );
  }
  const sizes = dimensions.map((_, i) => bytes.readUInt32BE(4 + 4 * i));
  const wrong = sizes.findIndex((size, i) => dimensions[i] !== 0 && dimensions[i] !== size);
  if (wrong >= 0) {
    throw damaged(
      file,
      `its shape is ${sizes.join(" × ")}, but dimension ${wrong} must be ${dimensions[wrong]}`,
    );
  }
  const length = sizes.reduce((product, size) => product * size, 1);
  if (bytes.length !== header + length) {
    throw damaged(
      file,
      `it has ${plural(bytes.length, "byte")}, but its header promises ${header + length}` +
        (bytes.length < header + length ? " (cut short?)" : ""),
    );
  }
  return { count: sizes[0]!, data: bytes.subarray(header) };
}

async function readIdx(folder: string, stem: string, dimensions: readonly number[]) {
  for (const file of [join(folder, stem), join(folder, `${stem}.gz`)]) {
    let bytes: Buffer;
    try {
      bytes = await readRegular(file);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") continue;
      throw new OnehourError(
        "ERR_ONEHOUR_DATA",
        `cannot read ${file} (${(error as Error).message}); expected a file that this user may ` +
          "read, in the folder that is named: fashion-mnist:FOLDER",
      );
    }
    if (bytes[0] === 0x1f && bytes[1] === 0x8b) {
      try {
        bytes = await promisify(gunzip)(bytes);
      } catch (error) {
        throw damaged(file, `it cannot be unpacked (${(error as Error).message})`);
      }
    }
    return { file, ...parseIdx(bytes, dimensions, file) };
  }
  return undefined;
}

function missing(folder: string, stem: string): OnehourError {
  return new UsageError(
    "ERR_ONEHOUR_DATA",
    `Fashion-MNIST is not here: looked for ${stem} and ${stem}.gz in ${folder}. ` +
      "Install the package: sudo apt-get install dataset-fashion-mnist; or name a folder that " +
      "holds the four idx files: fashion-mnist:FOLDER; or try without data: synthetic",
  );
}

async function openSplit(folder: string, prefix: string): Promise<Split & { digest: string }> {
  const stems = [`${prefix}-images-idx3-ubyte`, `${prefix}-labels-idx1-ubyte`] as const;
  const images = await readIdx(folder, stems[0], [0, side, side]);
  if (!images) throw missing(folder, stems[0]);
  const labels = await readIdx(folder, stems[1], [0]);
  if (!labels) throw missing(folder, stems[1]);
  if (images.count === 0) throw damaged(images.file, "it holds no image");
  if (images.count !== labels.count) {
    throw damaged(
      labels.file,
      `it has ${plural(labels.count, "label")} for the ${plural(images.count, "image")} of ${images.file}`,
    );
  }
  const foreign = labels.data.findIndex((label) => label >= classes);
  if (foreign >= 0) {
    throw damaged(labels.file, `label ${foreign} is ${labels.data[foreign]}, not 0 to 9`);
  }
  const size = side * side;
  return {
    length: images.count,
    digest: createHash("sha256").update(images.data).update(labels.data).digest("hex"),
    read(index, target, offset) {
      target.set(images.data.subarray(index * size, (index + 1) * size), offset);
      return labels.data[index]!;
    },
  };
}

/**
 * Opens Fashion-MNIST from `folder`, or from the Debian package's folder. Any number of images is
 * accepted. Throws ERR_ONEHOUR_DATA when files are missing, cut short or of another kind.
 */
export async function openFashionMnist(folder: string | undefined): Promise<Dataset> {
  const from = folder === undefined ? packagedFolder : resolve(folder);
  const testing = openSplit(from, "t10k");
  testing.catch(() => {}); // where both cannot be opened, the training images say why
  const train = await openSplit(from, "train");
  const test = await testing;
  return {
    name: folder === undefined ? "fashion-mnist" : `fashion-mnist:${from}`,
    images: { height: side, width: side, channels: 1 },
    classes,
    mean: [0.286],
    std: [0.353],
    augmentation: { padding: 4, flip: true },
    train,
    test,
    defaultEpochs: 10,
    fingerprint: `fashion-mnist:${train.digest}:${test.digest}`,
  };
}
