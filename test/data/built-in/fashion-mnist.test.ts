// Reads Fashion-MNIST's idx files, whole and broken.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { expect, test } from "vitest";
import { openDataset } from "../../../lib/data/datasets.js";
import { temporaryFolder } from "../../support/folder.js";
import { openStored } from "../stored.js";

const root = temporaryFolder();

function idx(dimensions: number[], values: number[]): Buffer {
  const head = Buffer.alloc(4 + 4 * dimensions.length);
  head.writeUInt32BE(0x0800 + dimensions.length, 0);
  dimensions.forEach((size, i) => {
    head.writeUInt32BE(size, 4 + 4 * i);
  });
  return Buffer.concat([head, Buffer.from(values)]);
}

const pixels = (count: number) => Array.from({ length: count * 784 }, (_, i) => (i * 7) % 256);
const whole: Record<string, Buffer> = {
  "train-images-idx3-ubyte": idx([3, 28, 28], pixels(3)),
  "train-labels-idx1-ubyte": idx([3], [4, 0, 9]),
  "t10k-images-idx3-ubyte": idx([2, 28, 28], pixels(2)),
  "t10k-labels-idx1-ubyte": idx([2], [1, 2]),
};

let folders = 0;
/** A folder with the whole files, some replaced (null: left out). */
function folderWith(changes: Record<string, Buffer | null>, zipped = false): string {
  const folder = join(root, String(folders++));
  const files = { ...whole, ...changes };
  mkdirSync(folder);
  for (const [name, bytes] of Object.entries(files)) {
    if (bytes)
      writeFileSync(join(folder, zipped ? `${name}.gz` : name), zipped ? gzipSync(bytes) : bytes);
  }
  return folder;
}

test.each([false, true])("any number of images, gzipped: %s", async (zipped) => {
  const dataset = await openStored(`fashion-mnist:${folderWith({}, zipped)}`);
  expect(dataset.images).toEqual({ height: 28, width: 28, channels: 1 });
  expect([dataset.train.length, dataset.test.length, dataset.classes]).toEqual([3, 2, 10]);
  const target = new Uint8Array(800);
  expect(dataset.train.read(2, target, 10)).toBe(9);
  expect([...target.subarray(10, 794)]).toEqual(pixels(3).slice(2 * 784));
  expect(dataset.test.read(1, target, 0)).toBe(2);
});

test("the same bytes have the same fingerprint, other bytes another", async () => {
  const open = async (changes: Record<string, Buffer>) =>
    (await openDataset(`fashion-mnist:${folderWith(changes)}`)).fingerprint;
  const first = await open({});
  expect(await open({})).toBe(first);
  expect(await open({ "t10k-labels-idx1-ubyte": idx([2], [1, 3]) })).not.toBe(first);
});

const labels = "train-labels-idx1-ubyte";
const images = "train-images-idx3-ubyte";
test.each<[string, Record<string, Buffer | null>, RegExp]>([
  ["a missing file", { [labels]: null }, /looked for train-labels.*apt-get install dataset-/s],
  ["cut short", { [images]: whole[images]!.subarray(0, 1000) }, /cut short/],
  ["cut within the header", { [images]: whole[images]!.subarray(0, 7) }, /7 bytes/],
  ["empty", { [images]: Buffer.alloc(0) }, /0 bytes/],
  ["too long", { [labels]: Buffer.concat([whole[labels]!, Buffer.of(1)]) }, /promises 11/],
  [
    "a foreign file",
    { [images]: Buffer.from("PK\x03\x04 a zip archive, say") },
    /begins with 0x504b0304/,
  ],
  ["labels as images", { [images]: whole[labels]! }, /bytes|begins/],
  ["images of another size", { [images]: idx([1, 2, 2], [1, 2, 3, 4]) }, /1 × 2 × 2/],
  ["more labels than images", { [labels]: idx([4], [0, 1, 2, 3]) }, /4 labels for the 3 images/],
  ["a label of no class", { [labels]: idx([3], [0, 1, 10]) }, /label 2 is 10/],
  ["no image", { [images]: idx([0, 28, 28], []), [labels]: idx([0], []) }, /no image/],
  ["a torn gzip", { [images]: gzipSync(whole[images]!).subarray(0, 60) }, /unpacked/],
])("refused: %s", async (_, changes, message) => {
  const folder = folderWith(changes);
  const opened = openDataset(`fashion-mnist:${folder}`);
  await expect(opened).rejects.toThrow(message);
  await expect(opened).rejects.toMatchObject({ code: "ERR_ONEHOUR_DATA" });
  await expect(opened).rejects.toThrow(folder);
});

test("a file in place of a folder, or the reverse, is refused with what was expected", async () => {
  const folder = folderWith({ [images]: null });
  const file = join(folder, "t10k-labels-idx1-ubyte");
  for (const name of [`fashion-mnist:${file}`, `fashion-mnist:${folderOfFolders()}`]) {
    await expect(openDataset(name)).rejects.toThrow(
      /cannot read .* \((ENOTDIR|it is a folder, not a file).*expected a file that this user may read/,
    );
  }
});

function folderOfFolders(): string {
  const folder = folderWith({ [images]: null });
  mkdirSync(join(folder, images));
  return folder;
}

test("an unknown data set is refused with a list of those that exist", async () => {
  await expect(openDataset("mnist")).rejects.toThrow(
    /no data set "mnist".*fashion-mnist.*synthetic/,
  );
  await expect(openDataset("fashon-mnist:here")).rejects.toThrow(
    /no data set "fashon-mnist:here".*; did you mean "fashion-mnist:here"\?/,
  );
  await expect(openDataset("fashon-mnist")).rejects.toMatchObject({ code: "ERR_ONEHOUR_RECIPE" });
  await expect(openDataset(root)).rejects.toThrow(`fashion-mnist:${root}`);
});
