// Keeps the list of a folder's images between runs: whatever happens to the file, the list is
// right.
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { beforeEach, expect, test } from "vitest";
import { openDataset } from "../../../lib/data/datasets.js";
import { temporaryFolder, writeFiles } from "../../support/folder.js";
import { tarOf } from "../tar-file.js";
import { flat } from "./decoded.js";

const parent = temporaryFolder();
const image = await flat(24, 20).jpeg().toBuffer();
let root: string;
let made = 0;

beforeEach(() => {
  root = join(parent, `set-${made++}`);
  for (const part of ["train", "val"])
    writeFiles(root, { [`${part}/a/one.jpg`]: image, [`${part}/b/two.jpg`]: image });
});

/** Opens the folder; returns whether it was listed, and the warnings. */
async function open() {
  const listed: string[] = [];
  const warnings: string[] = [];
  const dataset = await openDataset(root, {
    imageSize: 16,
    threads: 1,
    indexFolder: join(root, ".indexes"),
    say: ({ text }) => listed.push(text),
    warn: (text) => warnings.push(text),
  });
  dataset[Symbol.dispose]?.();
  return { fingerprint: dataset.fingerprint, listed: listed.length > 0, warnings };
}

const indexes = () =>
  readdirSync(join(root, ".indexes")).map((name) => join(root, ".indexes", name));
const trainIndex = () => indexes().find((file) => readFileSync(file, "utf8").includes("/train"))!;

/** Rewrites the list of the training images. */
function change(by: (text: string) => string): void {
  const text = readFileSync(trainIndex(), "utf8");
  const changed = by(text);
  expect(changed).not.toBe(text);
  writeFileSync(trainIndex(), changed);
}

test.each<[string, (text: string) => string]>([
  ["a flipped label", (text) => text.replace("\t1\t", "\t0\t")],
  ["a flipped name", (text) => text.replace("two.jpg", "twn.jpg")],
  [
    "a flipped size",
    (text) => text.replace(/\n(\d)/, (_, digit) => `\n${(Number(digit) + 1) % 10}`),
  ],
  ["a line less", (text) => text.replace(/[^\n]*two\.jpg\n/, "")],
  ["a line more", (text) => `${text}5\t0\ta/three.jpg\n`],
  ["lines in another order", (text) => text.replace(/\n(.*)\n(.*)\n$/, "\n$2\n$1\n")],
  ["a flipped digest", (text) => text.replace(/"digest":"./, '"digest":"x')],
  ["a flipped class", (text) => text.replace('"classes":["a"', '"classes":["c"')],
  ["a flipped time", (text) => text.replace(/("seen":.*?,\d)(\d)/, (_, a, b) => a + (9 - b))],
  ["a cut end", (text) => text.slice(0, -3)],
  ["a cut header", (text) => text.slice(0, 20)],
  ["nothing in it", () => ""],
  ["zeros", (text) => "\0".repeat(text.length)],
  ["JSON that is not an object", (text) => `null\n${text}`],
])("%s: it is made anew, said once", async (_, by) => {
  const { fingerprint } = await open();
  change(by);
  const second = await open();
  expect(second).toEqual({
    fingerprint,
    listed: true,
    warnings: [expect.stringMatching(/\.index, the list of images in .*train, was damaged/)],
  });
  expect(await open()).toEqual({ fingerprint, listed: false, warnings: [] });
});

test.each<[string, (text: string) => string]>([
  ["an older version", (text) => text.replace('"version":2', '"version":1')],
  [
    "an older version's file",
    (text) =>
      `{"version":1,"folder":"x","classes":["a","b"],"images":2}\n${text.split("\n", 2)[1]}\n`,
  ],
])("%s is made anew without a word", async (_, by) => {
  const { fingerprint } = await open();
  change(by);
  expect(await open()).toEqual({ fingerprint, listed: true, warnings: [] });
});

test("one that does not fit the folder any more is made anew, whatever the folder's time", async () => {
  const { fingerprint } = await open();
  const folder = join(root, "train/b");
  const { atime, mtime } = statSync(folder);
  renameSync(join(folder, "two.jpg"), join(folder, "six.jpg"));
  utimesSync(folder, atime, mtime);
  const second = await open();
  expect([second.listed, second.warnings]).toEqual([true, []]);
  expect(second.fingerprint).not.toBe(fingerprint);
});

test("another folder's list is not taken", async () => {
  await open();
  const [one, two] = indexes();
  const text = readFileSync(one!);
  writeFileSync(one!, readFileSync(two!));
  writeFileSync(two!, text);
  expect(await open()).toMatchObject({ listed: true, warnings: [] });
});

test("a damaged list of shards is made anew", async () => {
  root = join(parent, `set-${made++}`);
  mkdirSync(root);
  for (const part of ["train", "val"]) {
    const files = ["a", "b"].flatMap((key, label) => [
      { name: `${key}.jpg`, bytes: image },
      { name: `${key}.cls`, bytes: String(label) },
    ]);
    writeFileSync(join(root, `${part}-000000.tar`), tarOf(files));
  }
  const { fingerprint } = await open();
  change((text) => text.replace("\t1\tb\t", "\t0\tb\t"));
  const { warnings, ...second } = await open();
  expect(second).toEqual({ fingerprint, listed: true });
  expect(warnings).toHaveLength(1);
});
