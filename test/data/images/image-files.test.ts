// Lists the images of a folder as torchvision's ImageFolder does, and reports what it leaves out.
import { execFileSync } from "node:child_process";
import { symlinkSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, expect, test } from "vitest";
import type { Dataset } from "../../../lib/data/dataset.js";
import { openDataset } from "../../../lib/data/datasets.js";
import { temporaryFolder, writeFiles } from "../../support/folder.js";
import { fill, flat } from "./decoded.js";

const parent = temporaryFolder();
const image = await flat(24, 20).jpeg().toBuffer();
let root: string;
let made = 0;

const write = (files: Record<string, Buffer | string>) => writeFiles(root, files);

const open = () =>
  openDataset(root, { imageSize: 16, indexFolder: join(root, ".indexes"), threads: 1 });

async function labelsOf(dataset: Dataset, part: "train" | "test"): Promise<number[]> {
  const { labels } = await fill(dataset[part], 16, [...Array(dataset[part].length).keys()]);
  expect(dataset.inspection?.takeNew()).toEqual([]);
  return labels;
}

beforeEach(() => {
  root = join(parent, `set-${made++}`);
  write({ "train/a/1.jpg": image, "train/b/1.jpg": image });
  write({ "val/a/1.jpg": image, "val/b/1.jpg": image });
});

test("takes every file extension that torchvision takes, in any case", async () => {
  const endings = "jpg jpeg png ppm bmp pgm tif tiff webp gif jpe jfif".split(" ");
  for (const ending of endings) {
    write({ [`train/b/x.${ending}`]: image, [`train/b/X.${ending.toUpperCase()}`]: image });
  }
  const dataset = await open();
  expect(dataset.train.length).toBe(2 + 2 * endings.length);
  expect(dataset.notes).toEqual([]);
});

test("folders in a class folder are walked, links too, and those of a loop once", async () => {
  write({ "train/a/x/2.jpg": image, "train/a/x/y/3.jpg": image, "train/a/0.jpg": image });
  write({ "more/4.jpg": image });
  symlinkSync(join(root, "more"), join(root, "train/a/linked"));
  symlinkSync(join(root, "train/a"), join(root, "train/a/x/back"));
  symlinkSync("y", join(root, "train/a/x/again"));
  symlinkSync(join(root, "train/b/1.jpg"), join(root, "train/a/x/9.jpg"));
  const dataset = await open();
  expect(await labelsOf(dataset, "train")).toEqual([0, 0, 0, 0, 0, 0, 1]);
  expect(dataset.notes).toEqual([
    expect.stringMatching(
      /^left out of .*train: 2 that lead to a folder listed already, such as a\/x\/(y|back)$/,
    ),
  ]);
});

test("ends where folders all link to each other", async () => {
  const names = Array.from({ length: 12 }, (_, i) => `f${i}`);
  for (const name of names) write({ [`train/a/${name}/1.jpg`]: image });
  for (const name of names) {
    for (const other of names) {
      symlinkSync(join("..", other), join(root, "train/a", name, `to-${other}`));
    }
  }
  expect((await open()).train.length).toBe(14);
});

test("counts what it leaves out, with an example, each time the data is opened", async () => {
  write({ "train/a/notes.txt": "", "train/a/x/notes.heic": "", "train/b/.DS_Store": "" });
  write({ "train/stray.jpg": image, "train/list.txt": "" });
  const expected = [
    expect.stringMatching(
      /^left out of .*train: 1 outside of class folders, such as stray.jpg; 2 whose names do not end in \.jpg, .*, such as a\/notes\.txt; 1 whose names begin with a dot, such as b\/\.DS_Store$/,
    ),
  ];
  expect((await open()).notes).toEqual(expected);
  expect((await open()).notes).toEqual(expected);
});

test("leaves out what is neither a file nor a folder, and says so", async () => {
  execFileSync("mkfifo", [join(root, "train/a/pipe.jpg")]);
  const { train, notes } = await open();
  expect(train.length).toBe(2);
  expect(notes?.[0]).toMatch(/1 that are neither files nor folders, such as a\/pipe\.jpg/);
});

test("a change deep in a class folder is seen", async () => {
  write({ "train/a/x/y/2.jpg": image });
  const first = await open();
  write({ "train/a/x/y/3.jpg": image });
  const second = await open();
  expect([first.train.length, second.train.length]).toEqual([3, 4]);
  expect(second.fingerprint).not.toBe(first.fingerprint);
});

test("a class has its images even if all lie in deeper folders", async () => {
  write({ "train/c/x/1.jpg": image });
  expect((await open()).classes).toBe(3);
});

test("Tiny ImageNet's layout is taken as it is", async () => {
  root = join(parent, `set-${made++}`);
  write({
    "wnids.txt": "n02\nn01\n",
    "train/n01/images/n01_0.JPEG": image,
    "train/n01/images/n01_1.JPEG": image,
    "train/n01/n01_boxes.txt": "n01_0.JPEG\t0\t0\t62\t63\n",
    "train/n02/images/n02_0.JPEG": image,
    "train/n02/n02_boxes.txt": "n02_0.JPEG\t0\t0\t62\t63\n",
    "val/images/val_0.JPEG": image,
    "val/images/val_1.JPEG": image,
    "val/images/val_10.JPEG": image,
    "val/val_annotations.txt":
      "val_0.JPEG\tn02\t0\t32\t44\t62\nval_1.JPEG\tn01\t52\t55\t57\t59\nval_10.JPEG\tn02\t4\t0\t60\t55\n",
    "test/images/test_0.JPEG": image,
  });
  const dataset = await open();
  expect(dataset.classes).toBe(2);
  expect(await labelsOf(dataset, "train")).toEqual([0, 0, 1]);
  expect(await labelsOf(dataset, "test")).toEqual([1, 0, 1]);
  expect(dataset.notes).toEqual([expect.stringMatching(/left out of .*train: 2 whose names/)]);
  write({ "val/val_annotations.txt": "val_0.JPEG\tn02\nval_1.JPEG\tn03\nval_10.JPEG\tn01\n" });
  await expect(open()).rejects.toThrow(/val_annotations\.txt: line 2 has the label "n03"/);
  write({ "val/val_annotations.txt": "val_0.JPEG\tn02\nval_1.JPEG\tn01\n" });
  await expect(open()).rejects.toThrow(/it has no label for images\/val_10\.JPEG/);
  const whole = "val_0.JPEG\tn02\nval_1.JPEG\tn01\nval_10.JPEG\tn02\n";
  write({ "val/val_annotations.txt": `${whole}val_1.JPEG\tn02\n` });
  await expect(open()).rejects.toThrow(/val_annotations\.txt: it has two labels for val_1$/);
  write({
    "val/val_annotations.txt": `${whole}val_1.JPEG\tn01\nval_2.JPEG\tn01\nval_3.JPEG\tn01\n`,
  });
  expect((await open()).notes).toContainEqual(
    expect.stringMatching(
      /left out of .*val: 2 that have a label and are not there, such as val_2$/,
    ),
  );
});
