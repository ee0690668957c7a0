// Reads the labels of validation images that lie in one folder, as ILSVRC's archive has them.

import { readdir } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { OnehourError } from "../../errors.js";
import { isAbsent } from "../../system/exists.js";
import { readRegular, readText } from "../../system/regular-file.js";
import { plural } from "../../text/words.js";
import { mostBytes, readSynsets } from "./devkit.js";
import { byBytes, isImage } from "./image-files.js";

/** Where the development kit has its labels. */
const devkit = "ILSVRC2012_devkit_t12/data";

/** The contents of a file of labels. */
interface Labels {
  /** By an image's path in the folder. */
  labels: Map<string, number>;
  /** Names, without their endings, that have a label and no image. */
  absent: string[];
}

/** The labels of a folder, where its images lie, and the file that holds them. */
export interface FlatLabels extends Labels {
  source: { folder: string; file: string };
}

/** Reads the labels of `images`, sorted; throws with what is wrong. */
type Reader = (
  text: string,
  images: readonly string[],
  classOf: ClassOf,
  folder: string,
) => Labels | Promise<Labels>;
type ClassOf = (name: string, line: number) => number;

const digits = /^\d+$/;

const linesOf = (text: string) =>
  text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");

const stemOf = (name: string) => basename(name).replace(/\.[^.]*$/, "");

function byName(
  entries: Iterable<[stem: string, label: number]>,
  images: readonly string[],
): Labels {
  const known = new Map<string, number>();
  for (const [stem, label] of entries) {
    if ((known.get(stem) ?? label) !== label) throw new Error(`it has two labels for ${stem}`);
    known.set(stem, label);
  }
  const labels = new Map<string, number>();
  for (const image of images) {
    const label = known.get(stemOf(image));
    if (label === undefined) throw new Error(`it has no label for ${image}`);
    labels.set(image, label);
  }
  const present = new Set(images.map(stemOf));
  return { labels, absent: [...known.keys()].filter((stem) => !present.has(stem)) };
}

/** One label a line, in the order of the images. */
function inOrder(text: string, images: readonly string[], classOf: ClassOf): Labels {
  const lines = linesOf(text);
  if (lines.length !== images.length) {
    throw new Error(
      `it has ${plural(lines.length, "label")} for ${plural(images.length, "image")}`,
    );
  }
  const labels = new Map(images.map((image, i) => [image, classOf(lines[i]!, i + 1)]));
  return { labels, absent: [] };
}

/** What the development kit's numbers mean. */
async function synsetsOf(file: string): Promise<Map<number, string>> {
  try {
    return readSynsets(await readRegular(file, mostBytes));
  } catch (error) {
    throw new Error(
      `meta.mat next to it explains its numbers, and ${file} cannot be read ` +
        `(${(error as Error).message}); expected the development kit's own file`,
    );
  }
}

/** "ILSVRC2012_val_00000001.JPEG n01751748", or a number from 0 in the order of the classes. */
const pairs: Reader = (text, images, classOf) =>
  byName(
    linesOf(text).map((line, i) => {
      const [image, label] = line.split(/\s+/);
      return [stemOf(image!), classOf(label ?? "", i + 1)];
    }),
    images,
  );

/** Files of labels by name, and how they are read. */
const formats: Readonly<Record<string, Reader>> = {
  // Kaggle's: "ImageId,PredictionString" and then "ILSVRC2012_val_00048981,n03995372 85 131 498 499 …".
  "LOC_val_solution.csv": (text, images, classOf) =>
    byName(
      linesOf(text)
        .slice(1)
        .map((line, i) => {
          const [image, boxes] = line.split(",");
          return [image!, classOf(boxes?.split(" ")[0] ?? "", i + 2)];
        }),
      images,
    ),
  // The development kit's: one ILSVRC2012_ID a line, which meta.mat next to it explains.
  "ILSVRC2012_validation_ground_truth.txt": async (text, images, classOf, folder) => {
    const names = await synsetsOf(join(folder, "meta.mat"));
    const nameOf = (id: string) => (digits.test(id) ? names.get(Number(id)) : undefined);
    return inOrder(text, images, (id, line) => classOf(nameOf(id) ?? `ID ${id}`, line));
  },
  // One class's name a line.
  "imagenet_2012_validation_synset_labels.txt": inOrder,
  "val.txt": pairs,
  // Tiny ImageNet's: "val_0.JPEG TAB n03444034 TAB 0 TAB 32 TAB 44 TAB 62".
  "val_annotations.txt": pairs,
};

function arrangeHint(folder: string): string {
  return (
    `Put one of ${Object.keys(formats).join(", ")} next to it or in it, with the images' labels; or ` +
    "arrange the images in class folders, with Kaggle's file of labels: " +
    `cd ${folder} && tail -n +2 LOC_val_solution.csv | tr ', ' '  ' | ` +
    `while read -r image class rest; do mkdir -p "$class" && mv "$image.JPEG" "$class/"; done`
  );
}

async function namesIn(folder: string): Promise<string[]> {
  return await readdir(folder).catch((error) => {
    if (isAbsent(error)) return [];
    throw new OnehourError(
      "ERR_ONEHOUR_DATA",
      `cannot read ${folder} (${error.message}); make it readable for this user`,
    );
  });
}

/** The images in a folder or, as Tiny ImageNet has them, in its folder `images`. */
async function flatImages(folder: string): Promise<{ images: string[]; place: string }> {
  for (const inner of ["", "images"]) {
    const path = join(folder, inner);
    const names = (await namesIn(path)).filter(isImage).sort(byBytes);
    if (names.length > 0) return { images: names.map((name) => join(inner, name)), place: path };
  }
  return { images: [], place: folder };
}

/**
 * The labels of a folder of images without class folders, from a file in it or next to it. Undefined
 * when it holds no image; throws ERR_ONEHOUR_DATA where there is no such file, or labels are wrong.
 */
export async function readFlatLabels(
  folder: string,
  classes: readonly string[],
): Promise<FlatLabels | undefined> {
  const { images, place: imageFolder } = await flatImages(folder);
  if (images.length === 0) return undefined;
  const numbers = new Map(classes.map((name, i) => [name, i]));
  // Where classes have numbers for names, a number is a name and nothing else.
  const mayCount = !classes.some((name) => digits.test(name));
  const parent = dirname(folder);
  for (const place of [folder, parent, join(parent, devkit), join(dirname(parent), devkit)]) {
    for (const [name, read] of Object.entries(formats)) {
      const file = join(place, name);
      const text = await readText(file).catch((error) => {
        if (isAbsent(error)) return undefined;
        throw new OnehourError(
          "ERR_ONEHOUR_DATA",
          `cannot read ${file} (${error.message}); expected the labels of ${imageFolder}`,
        );
      });
      if (text === undefined) continue;
      const classOf: ClassOf = (label, line) => {
        const number = numbers.get(label) ?? (mayCount && digits.test(label) ? Number(label) : -1);
        if (number >= 0 && number < classes.length) return number;
        throw new Error(
          `line ${line} has the label "${label}"; expected one of the ${plural(classes.length, "class")} of ` +
            `train/, such as ${classes[0]}` +
            (mayCount ? `, or a number from 0 to ${classes.length - 1}` : ""),
        );
      };
      try {
        const labels = await read(text, images, classOf, place);
        return { ...labels, source: { folder: imageFolder, file } };
      } catch (error) {
        throw new OnehourError("ERR_ONEHOUR_DATA", `${file}: ${(error as Error).message}`);
      }
    }
  }
  throw new OnehourError(
    "ERR_ONEHOUR_DATA",
    `${folder} holds ${plural(images.length, "image")} without class folders, and no file names their ` +
      `classes. ${arrangeHint(folder)}`,
  );
}
