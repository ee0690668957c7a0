// Reads only regular files: a read from a pipe may wait for ever, and some devices never end.
import { execFileSync } from "node:child_process";
import {
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { readRecipe } from "../../lib/cli/recipe.js";
import { openDataset } from "../../lib/data/datasets.js";
import { readRunRecipe } from "../../lib/recipe/run-recipe.js";
import { readCheckpoint } from "../../lib/run-folder/checkpoint.js";
import { RunLock } from "../../lib/run-folder/lock.js";
import { readLog } from "../../lib/run-folder/log.js";
import { openRegular, readRegular } from "../../lib/system/regular-file.js";
import { tarOf } from "../data/tar-file.js";
import { temporaryFolder } from "../support/folder.js";

const parent = temporaryFolder();
let made = 0;
let folder: string;
let closing: () => void;
beforeEach(() => {
  folder = join(parent, String(made++));
  mkdirSync(folder);
  closing = () => {};
});
afterEach(() => closing());

/** Puts something other than a regular file at a path. */
const put: Record<string, (path: string) => void | Promise<void>> = {
  "a folder": (path) => mkdirSync(path),
  "a named pipe": (path) => {
    execFileSync("mkfifo", [path]);
  },
  // One that ends, for the sake of a machine on which this test fails.
  "a device": (path) => symlinkSync("/dev/null", path),
  "a socket": async (path) => {
    const server = createServer();
    await new Promise<void>((done) => server.listen(path, done));
    closing = () => server.close();
  },
};
const kinds = Object.keys(put);

const image = join(import.meta.dirname, "../fixtures/images/small.jpg");
/** Makes a data set of image folders, one image a class and part, whose test images may lie `flat`. */
function makeImages(flat = false): void {
  for (const place of ["train/a", "train/b", ...(flat ? ["val"] : ["val/a", "val/b"])]) {
    mkdirSync(join(folder, place), { recursive: true });
    copyFileSync(image, join(folder, place, "one.jpg"));
  }
}
const indexes = join(tmpdir(), "none");
const openImages = (warn = (_: string) => {}, indexFolder = indexes) =>
  openDataset(folder, { imageSize: 16, threads: 1, indexFolder, warn });

/** What reads a file of the folder, by the file's name. */
const readers: [name: string, read: (path: string) => Promise<unknown>][] = [
  ["bytes", readRegular],
  ["handle", openRegular],
  ["weights.safetensors", readCheckpoint],
  ["recipe.json", (path) => readRunRecipe(dirname(path), {})],
  ["log.jsonl", (path) => readLog(dirname(path))],
  ["own.json", readRecipe],
  ["own.ts", readRecipe],
  ["train-images-idx3-ubyte", (path) => openDataset(`fashion-mnist:${dirname(path)}`)],
  ["train-000000.tar", openImages as () => Promise<unknown>],
];

test.each(readers.flatMap(([name, read]) => kinds.map((kind) => ({ name, kind, read }))))(
  "$name: $kind is refused in words",
  async ({ name, kind, read }) => {
    const path = join(folder, name);
    await put[kind]!(path);
    if (name.endsWith(".tar")) writeFileSync(join(folder, "val-000000.tar"), tarOf([]));
    await expect(read(path)).rejects.toThrow(`it is ${kind}, not a file`);
    if (name !== "bytes" && name !== "handle") await expect(read(path)).rejects.toThrow(path);
  },
);

test.each<[string, (path: string) => Promise<unknown>]>([
  ["recipe.json", (path) => readRunRecipe(dirname(path), {})],
  ["own.json", readRecipe],
  ["val.txt", () => openImages()],
  ["classes.txt", () => openImages()],
])("%s: a text that is longer than a string can be is refused in words", async (name, read) => {
  const path = join(folder, name);
  if (name === "val.txt") makeImages(true);
  if (name === "classes.txt") {
    const one = [
      { name: "a.jpg", bytes: readFileSync(image) },
      { name: "a.cls", bytes: "0" },
    ];
    for (const part of ["train", "val"]) writeFileSync(join(folder, `${part}-0.tar`), tarOf(one));
  }
  writeFileSync(path, "");
  truncateSync(path, 600 << 20); // which takes no room on a disk
  await expect(read(path)).rejects.toThrow(/it has 629145600 bytes, expected at most 268435456/);
  await expect(read(path)).rejects.toThrow(path);
});

test.each(kinds)("labels: %s is refused in words", async (kind) => {
  makeImages(true);
  await put[kind]!(join(folder, "val.txt"));
  await expect(openImages()).rejects.toThrow(
    `cannot read ${join(folder, "val.txt")} (it is ${kind}, not a file)`,
  );
});

test.each(kinds)(
  "a list of images: %s in its place is reported, and a list is made",
  async (kind) => {
    makeImages();
    const cache = join(folder, "..", `indexes-${made}`);
    const before = await openImages(undefined, cache);
    before[Symbol.dispose]?.();
    const list = join(cache, readdirSync(cache)[0]!);
    rmSync(list);
    await put[kind]!(list);
    const warnings: string[] = [];
    const after = await openImages((text) => warnings.push(text), cache);
    after[Symbol.dispose]?.();
    expect(after.fingerprint).toBe(before.fingerprint);
    expect(warnings.join()).toMatch(`cannot be read (it is ${kind}, not a file) and is made anew`);
  },
);

test("does not read a lock's holder from a pipe", async () => {
  const lock = await RunLock.take(folder, { seconds: 0, say: () => {} });
  const file = join(folder, "run.lock");
  rmSync(file);
  execFileSync("mkfifo", [file]);
  const held = () => "held" as const;
  const take = RunLock.take(folder, { seconds: 0, say: () => {}, tryLock: held });
  await expect(take).rejects.toThrow(/is in use: another process writes/);
  lock?.release();
});
