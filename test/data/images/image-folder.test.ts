// Opens a folder of images: its list, its classes, refusals, and damaged images.
import {
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { beforeEach, describe, expect, test } from "vitest";
import type { Dataset } from "../../../lib/data/dataset.js";
import { openDataset } from "../../../lib/data/datasets.js";
import type { Stage } from "../../../lib/terminal/stages.js";
import { temporaryFolder } from "../../support/folder.js";
import { fill as fillOf, flat } from "./decoded.js";

const parent = temporaryFolder();
const fixtures = join(import.meta.dirname, "../../fixtures/images");
const size = 16;
let root: string;
let made = 0;

/** Writes files below the root: a fixture's name, a flat color, or text. */
async function write(files: Record<string, string | [number, number, number]>): Promise<void> {
  for (const [name, content] of Object.entries(files)) {
    const file = join(root, name);
    mkdirSync(dirname(file), { recursive: true });
    if (typeof content !== "string") {
      await flat(40, 30, content).toFile(file);
    } else if (/\.\w+$/.test(content) && readdirSync(fixtures).includes(content)) {
      copyFileSync(join(fixtures, content), file);
    } else {
      writeFileSync(file, content);
    }
  }
}

const open = (options = {}) =>
  openDataset(root, { imageSize: size, indexFolder: join(root, ".indexes"), ...options });

/** Fills a batch, unaugmented unless an epoch is given. */
const fill = (dataset: Dataset, part: "train" | "test", indices: number[], epoch?: number) =>
  fillOf(dataset[part], size, indices, epoch === undefined ? undefined : { seed: 5, epoch });

beforeEach(async () => {
  root = join(parent, `set-${made++}`);
  await write({
    "train/b/1.jpg": [250, 0, 0],
    "train/a/2.png": [0, 250, 0],
    "train/a/1.jpg": [0, 0, 250],
    "train/a/notes.txt": "no image",
    "val/a/9.webp": [10, 20, 30],
    "val/b/8.JPEG": [200, 100, 50],
  });
});

test("classes are numbered by their names, and images come with their labels", async () => {
  const dataset = await open();
  expect([dataset.classes, dataset.train.length, dataset.test.length]).toEqual([2, 3, 2]);
  expect(dataset.images).toEqual({ height: size, width: size, channels: 3 });
  const { image, labels, flips } = await fill(dataset, "train", [2, 0, 1]);
  expect(labels).toEqual([1, 0, 0]);
  expect(flips).toEqual([0, 0, 0]);
  const middle = (i: number) =>
    [...image(i).subarray(300, 303)].map((x) => Math.round(x / 50) * 50);
  expect([middle(0), middle(1), middle(2)]).toEqual([
    [250, 0, 0],
    [0, 0, 250],
    [0, 250, 0],
  ]);
  expect((await fill(dataset, "test", [0, 1])).labels).toEqual([0, 1]);
});

test("crop and flip depend on seed, epoch and image alone", async () => {
  await write({ "train/b/2.jpg": "wide.jpg", "train/b/3.jpg": "tall.jpg" });
  const dataset = await open();
  const first = await fill(dataset, "train", [3, 4, 3], 1);
  const second = await fill(await open(), "train", [4, 3, 0], 1);
  expect(first.image(0)).toEqual(second.image(1));
  expect(first.image(1)).toEqual(second.image(0));
  expect(first.image(2)).toEqual(first.image(0));
  expect(first.flips[0]).toBe(second.flips[1]);
  expect((await fill(dataset, "train", [3], 2)).image(0)).not.toEqual(first.image(0));
  const jittered = await fill(await open({ colorJitter: 0.4 }), "train", [3], 1);
  expect(jittered.image(0)).not.toEqual(first.image(0));
  expect(jittered.flips[0]).toBe(first.flips[0]);
});

test("test images may have another size, and show more or less of the image", async () => {
  await write({ "train/a/3.jpg": "wide.jpg", "val/a/8.jpg": "wide.jpg" });
  const test = async (options: object, side = size) =>
    (await fillOf((await open(options)).test, side, [0])).images;
  const usual = await test({});
  const other = await open({ testImageSize: 24, testResize: 26 });
  expect(other.images).toEqual({ height: 16, width: 16, channels: 3 });
  expect(other.testImages).toEqual({ height: 24, width: 24, channels: 3 });
  // Training crops are as they were, and without crops the same part of an image as in the test.
  const crops = async (dataset: Dataset) => (await fill(dataset, "train", [2], 1)).images;
  expect(await crops(other)).toEqual(await crops(await open()));
  const centre = (await fill(other, "train", [2])).images;
  expect(centre).toEqual(await test({ testResize: 17 })); // 16 · 26 / 24
  expect(centre).not.toEqual(usual);
  // As an image folder of that size.
  const larger = await test({ testImageSize: 24 }, 24);
  expect(larger).toEqual(await test({ imageSize: 24 }, 24));
  expect((await open({ testImageSize: 16 })).testImages).toBeUndefined();
  expect(await test({ testResize: 18 })).toEqual(usual);
  expect(await test({ defaultScale: 17 / 16 })).toEqual(centre);
});

test("reports classes without validation images", async () => {
  rmSync(join(root, "train/a/notes.txt"));
  expect((await open()).notes).toEqual([]);
  rmSync(join(root, "val/b"), { recursive: true });
  expect((await open()).notes).toEqual(["warning: val/ has no image of 1 of 2 classes, such as b"]);
});

describe("the list", () => {
  test("is kept, and rebuilt when a folder has changed", async () => {
    const lines: Stage[] = [];
    const say = (stage: Stage) => lines.push(stage);
    const { fingerprint } = await open({ say });
    expect(lines.at(-1)).toEqual({ text: "listing val", share: 1, details: ["2 images"] });
    lines.length = 0;
    expect((await open({ say })).fingerprint).toBe(fingerprint);
    expect(lines).toEqual([]);
    await write({ "train/a/3.jpg": [1, 2, 3] });
    utimesSync(join(root, "train/a"), 1e9, 1e9); // whatever the file system's resolution
    const grown = await open({ say });
    expect(grown.train.length).toBe(4);
    expect(grown.fingerprint).not.toBe(fingerprint);
    expect(lines.some(({ text }) => text === "listing train")).toBe(true);
  });

  test("is not saved where it cannot be", async () => {
    writeFileSync(join(root, "file"), "");
    const dataset = await open({ indexFolder: join(root, "file", "indexes") });
    expect(dataset.train.length).toBe(3);
  });
});

describe("refused, with what to do", () => {
  test.each([
    [
      "no train/",
      () => rmSync(join(root, "train"), { recursive: true }),
      /holds no train\/; expected/,
    ],
    ["no val/", () => rmSync(join(root, "val"), { recursive: true }), /no folder .*val; expected/],
    [
      "an empty class",
      () => mkdirSync(join(root, "train/c")),
      /train\/c holds no image; expected \.jpg/,
    ],
    [
      "a class that was not trained",
      () => write({ "val/zebra/1.jpg": [0, 0, 0] }),
      /class "zebra" that the training images lack \(2 classes, such as a\)/,
    ],
  ])("%s", async (_, change, message) => {
    await change();
    await expect(open()).rejects.toMatchObject({
      code: "ERR_ONEHOUR_DATA",
      message: expect.stringMatching(message),
    });
  });

  test("a mistyped folder, with the one that was meant", async () => {
    const typo = join(root, "vall");
    await expect(openDataset(typo)).rejects.toThrow(`did you mean "${join(root, "val")}"?`);
    await expect(openDataset(join(typo, "x"))).rejects.toThrow(`${typo} is not a folder either`);
  });

  test.each(["a\nb.jpg", "a\tb.jpg"])("a name that breaks a line of the list: %j", async (name) => {
    await write({ [`train/a/${name}`]: [0, 0, 0] });
    await expect(open()).rejects.toThrow(/holds a tab, a line feed/);
  });

  test("a link to nothing, by its name", async () => {
    symlinkSync(join(root, "nowhere.jpg"), join(root, "train/a/link.jpg"));
    await expect(open()).rejects.toMatchObject({
      code: "ERR_ONEHOUR_DATA",
      message: expect.stringMatching(/cannot read .*link\.jpg/),
    });
  });

  test("a class that is a link to nothing, by its name", async () => {
    symlinkSync(join(root, "nowhere"), join(root, "train/c"));
    await expect(open()).rejects.toMatchObject({
      code: "ERR_ONEHOUR_DATA",
      message: expect.stringMatching(/cannot read .*train\/c /),
    });
  });

  test.each([7, 1.5, 5000])("an image size of %s", async (imageSize) => {
    await expect(open({ imageSize })).rejects.toThrow(/imageSize: expected a whole number/);
  });

  test("a test size that cannot be, before anything is written", async () => {
    await expect(open({ testImageSize: 7 })).rejects.toMatchObject({ code: "ERR_ONEHOUR_RECIPE" });
    expect(readdirSync(root)).not.toContain(".indexes");
  });

  test("a test size for images that are not resized", async () => {
    for (const option of ["testImageSize", "testResize"])
      await expect(openDataset("synthetic", { [option]: 32 })).rejects.toThrow(
        new RegExp(`^${option}: the images of synthetic are as they are`),
      );
  });

  test("a size for images that are not resized", async () => {
    await expect(openDataset("synthetic", { imageSize: 32 })).rejects.toMatchObject({
      code: "ERR_ONEHOUR_RECIPE",
      message: expect.stringMatching(/^imageSize: /),
    });
  });
});

describe("damaged images", () => {
  beforeEach(() =>
    write({
      "train/a/0.jpg": "text.jpg",
      "train/b/0.jpg": "cut.jpg",
      "val/b/0.jpg": "header-only.jpg",
    }),
  );

  test("are replaced by the next, or decoded as far as they go, and named once", async () => {
    const dataset = await open();
    // Images: a/0 (text), a/1, a/2, b/0 (cut), b/1.
    const { image, labels } = await fill(dataset, "train", [0, 3, 1], 0);
    expect(labels).toEqual([0, 1, 0]);
    expect(image(0)).toEqual(image(2));
    const { inspection } = dataset;
    expect(inspection?.takeNew().map(({ text }) => text.slice(root.length))).toEqual([
      expect.stringMatching(/^\/train\/a\/0\.jpg cannot be decoded/),
      expect.stringMatching(/^\/train\/b\/0\.jpg is damaged \(.*premature/i),
    ]);
    await fill(dataset, "train", [0, 3], 1);
    expect(inspection?.takeNew()).toEqual([]);
  });

  test("are replaced without augmentation too", async () => {
    const { image, labels } = await fill(await open(), "train", [0, 1]);
    expect(image(0)).toEqual(image(1));
    expect(labels).toEqual([0, 0]);
  });

  test("in other formats than JPEG are lost where they are cut short, not black", async () => {
    const file = join(root, "train/a/2.png");
    copyFileSync(join(fixtures, "palette.png"), file);
    writeFileSync(file, readFileSync(file).subarray(0, 900));
    const dataset = await open();
    await fill(dataset, "train", [2], 0);
    expect(dataset.inspection?.takeNew()[0]?.text).toMatch(/a\/2\.png cannot be decoded/);
  });

  test("of the test set are grey, with their label", async () => {
    const { image, labels } = await fill(await open(), "test", [1, 2]);
    expect(labels).toEqual([1, 1]);
    expect(new Set(image(0))).toEqual(new Set([128]));
  });

  test("end a strict run", async () => {
    await expect(fill(await open({ strict: true }), "train", [0], 0)).rejects.toMatchObject({
      code: "ERR_ONEHOUR_DATA",
      message: expect.stringMatching(/a\/0\.jpg cannot be decoded .*strict: true/),
    });
  });

  test("are refused where there are no others to train on", async () => {
    for (const file of ["a/1.jpg", "a/2.png", "b/0.jpg", "b/1.jpg"]) {
      await write({ [`train/${file}`]: "text.jpg" });
    }
    await expect(fill(await open(), "train", [0], 0)).rejects.toThrow(
      /nor can the 4 images after it/,
    );
  });
});

test("a file that vanishes is an error that names it", async () => {
  const dataset = await open();
  rmSync(join(root, "train/a/1.jpg"));
  await expect(fill(dataset, "train", [0])).rejects.toThrow(
    /cannot read .*a\/1\.jpg \(No such file/,
  );
});

describe("validation images without class folders", () => {
  beforeEach(async () => {
    rmSync(join(root, "val"), { recursive: true });
    await write({
      "val/ILSVRC2012_val_00000001.JPEG": [1, 1, 1],
      "val/ILSVRC2012_val_00000002.JPEG": [2, 2, 2],
      "val/ILSVRC2012_val_00000003.JPEG": [3, 3, 3],
    });
  });

  test.each([
    [
      "LOC_val_solution.csv",
      "ImageId,PredictionString\nILSVRC2012_val_00000002,a 1 2 3 4 a 5 6 7 8 \n" +
        "ILSVRC2012_val_00000001,b 1 2 3 4 \nILSVRC2012_val_00000003,b 9 9 9 9\n",
    ],
    ["imagenet_2012_validation_synset_labels.txt", "b\na\nb\n"],
    [
      "val/val.txt",
      "ILSVRC2012_val_00000001.JPEG 1\nILSVRC2012_val_00000002.JPEG a\nILSVRC2012_val_00000003.JPEG 1\n",
    ],
  ])("have the labels of %s", async (file, text) => {
    await write({ [file]: text });
    expect((await fill(await open(), "test", [0, 1, 2])).labels).toEqual([1, 0, 1]);
  });

  test.each([
    ["a foreign class", "b\nc\nb\n", /line 2 has the label "c"; expected one of the 2 classes/],
    ["a label out of range", "1\n0\n2\n", /line 3 has the label "2"; expected/],
    ["too few labels", "b\na\n", /it has 2 labels for 3 images/],
  ])("with %s are refused", async (_, text, message) => {
    await write({ "imagenet_2012_validation_synset_labels.txt": text });
    await expect(open()).rejects.toMatchObject({
      code: "ERR_ONEHOUR_DATA",
      message: expect.stringMatching(message),
    });
  });

  // Written by SciPy's savemat, compressed or not: ID 1 is class b, ID 2 class a, ID 1001 neither.
  test.each(["meta.mat", "meta-plain.mat"])(
    "have the labels of the development kit, %s",
    async (meta) => {
      const kit = "ILSVRC2012_devkit_t12/data";
      await write({ [`${kit}/ILSVRC2012_validation_ground_truth.txt`]: "1\n2\n1\n" });
      copyFileSync(join(fixtures, "../devkit", meta), join(root, kit, "meta.mat"));
      expect((await fill(await open(), "test", [0, 1, 2])).labels).toEqual([1, 0, 1]);
      await write({ [`${kit}/ILSVRC2012_validation_ground_truth.txt`]: "1\n2\n3\n" });
      utimesSync(join(root, kit, "ILSVRC2012_validation_ground_truth.txt"), 1e9, 1e9);
      await expect(open()).rejects.toThrow(/line 3 has the label "ID 3"; expected/);
      await write({ [`${kit}/ILSVRC2012_validation_ground_truth.txt`]: "1\n0x2\n1\n" });
      await expect(open()).rejects.toThrow(/line 2 has the label "ID 0x2"; expected/);
      writeFileSync(
        join(root, kit, "meta.mat"),
        readFileSync(join(root, kit, "meta.mat")).subarray(0, 300),
      );
      await expect(open()).rejects.toThrow(/ground_truth\.txt: /);
      truncateSync(join(root, kit, "meta.mat"), 2 ** 30); // none of which is read
      await expect(open()).rejects.toThrow(/it has 1073741824 bytes, expected at most 16777216/);
    },
  );

  test("are listed again when the same numbers mean other classes", async () => {
    const kit = "ILSVRC2012_devkit_t12/data";
    await write({ [`${kit}/ILSVRC2012_validation_ground_truth.txt`]: "1\n2\n1\n" });
    const meta = readFileSync(join(fixtures, "../devkit/meta-plain.mat"));
    writeFileSync(join(root, kit, "meta.mat"), meta);
    expect((await fill(await open(), "test", [0, 1, 2])).labels).toEqual([1, 0, 1]);
    const place = (name: string) => meta.indexOf(`\x10\0\x01\0${name}`, 0, "latin1") + 4;
    const [a, b] = [place("a"), place("b")];
    meta.write("b", a);
    meta.write("a", b);
    writeFileSync(join(root, kit, "meta.mat"), meta);
    expect((await fill(await open(), "test", [0, 1, 2])).labels).toEqual([0, 1, 0]);
  });

  test("of classes that are numbers have names only", async () => {
    for (const [from, to] of [
      ["a", "1"],
      ["b", "2"],
    ] as const) {
      renameSync(join(root, "train", from), join(root, "train", to));
    }
    await write({ "imagenet_2012_validation_synset_labels.txt": "2\n1\n2\n" });
    expect((await fill(await open(), "test", [0, 1, 2])).labels).toEqual([1, 0, 1]);
    await write({ "imagenet_2012_validation_synset_labels.txt": "1\n0\n1\n" });
    utimesSync(join(root, "imagenet_2012_validation_synset_labels.txt"), 1e9, 1e9);
    await expect(open()).rejects.toThrow(/line 2 has the label "0"; expected one of the 2 classes/);
  });

  test("without labels are refused with the command that arranges them", async () => {
    await expect(open()).rejects.toThrow(
      /3 images without class folders.*mkdir -p "\$class" && mv/,
    );
  });
});
