// Reads shards in WebDataset's layout: lists them, refuses wrong ones, and gets the same pixels as
// from a folder.
import { statSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { expect, test } from "vitest";
import { openDataset } from "../../../lib/data/datasets.js";
import { temporaryFolder, writeFiles } from "../../support/folder.js";
import { fill as fillOf } from "../images/decoded.js";
import { member, type Packed, paxRecord, tarOf } from "../tar-file.js";

const root = temporaryFolder();
const size = 16;

/** A different image for each number. */
async function makeImage(
  number: number,
  format: "jpeg" | "png" | "webp" = "jpeg",
): Promise<Buffer> {
  const pixels = Uint8Array.from({ length: 24 * 20 * 3 }, (_, i) => (i * (3 + number)) % 251);
  return await sharp(pixels, { raw: { width: 24, height: 20, channels: 3 } })
    .toFormat(format)
    .toBuffer();
}

const image = await makeImage(1);
const pair = (key: string, label: number | string, bytes: Buffer = image): Packed[] => [
  { name: `${key}.cls`, bytes: String(label) },
  { name: `${key}.jpg`, bytes },
];
const val = { "val-000000.tar": tarOf(pair("v", 0)) };

let folders = 0;
/** A new folder with the files, by their paths in it. */
function folderWith(files: Record<string, Buffer | string>): string {
  const folder = join(root, String(folders++));
  writeFiles(folder, files);
  return folder;
}

/** Opens a folder; `listings` counts the messages that a part is being listed. */
async function open(folder: string, strict = false) {
  let listings = 0;
  const dataset = await openDataset(folder, {
    imageSize: size,
    strict,
    indexFolder: join(folder, ".indexes"),
    say: () => listings++,
  });
  return { ...dataset, listings: () => listings };
}

const fill = (split: unknown, indices: number[], augment?: { seed: number; epoch: number }) =>
  fillOf(split, size, indices, augment).then(({ images, labels, flips }) => ({
    images: Buffer.from(images).toString("hex"),
    labels,
    flips,
  }));

const range = (length: number) => Array.from({ length }, (_, i) => i);

test("samples of all shards are listed in order, from names of every kind", async () => {
  const deep = `${"folder.of.a.long.name/".repeat(8)}n01440764`;
  const folder = folderWith({
    "train-000001.tar": tarOf([
      ...pair(`${deep}_1`, 1).map((file) => ({ ...file, long: "gnu" as const })),
      ...pair(`${deep}_2é`, 2).map((file) => ({ ...file, long: "pax" as const })),
    ]),
    "train-000000.tar": Buffer.concat([
      member("d/", "", "5"),
      member("pax_global_header", paxRecord("comment", "written by a test"), "g"),
      member("a_0.jpg", image, "0", "d".repeat(120)),
      member("a_0.cls", "3\n", "0", "d".repeat(120)),
      tarOf([{ name: "notes", bytes: "no sample" }, ...pair("b", 0)]),
    ]),
    ...val,
  });
  const { train, test, classes, shards, notes, listings } = await open(folder);
  expect([train.length, test.length, classes]).toEqual([4, 1, 4]);
  expect(shards).toEqual([2, 2]);
  expect((await fill(train, range(4))).labels).toEqual([3, 0, 1, 2]);
  expect(notes).toEqual(["2 training shards, shuffled together image by image"]);
  expect(listings()).toBe(3);
});

test("labels come from .cls, or else from .json; images are of any format", async () => {
  const folder = folderWith({
    "train/a.tar": tarOf([
      { name: "a.json", bytes: '{"label": 4, "caption": "x"}' },
      { name: "a.JPEG", bytes: image },
      { name: "b.png", bytes: await makeImage(2, "png") },
      { name: "b.json", bytes: '{"label": "cat", "cls": 2}' },
      { name: "b.seg.png", bytes: "not the image" },
      { name: "c.json", bytes: '{"label": 1}' },
      { name: "c.webp", bytes: await makeImage(3, "webp") },
      { name: "c.cls", bytes: "3" },
    ]),
    "val/a.tar": tarOf(pair("v", 4)),
  });
  const { train, classes } = await open(folder);
  expect((await fill(train, range(3))).labels).toEqual([4, 2, 3]);
  expect(classes).toBe(5);
});

test("classes.txt gives the number of classes; class folders come before tars", async () => {
  const tars = { "train-000000.tar": tarOf(pair("a", 1)), ...val };
  const named = folderWith({ ...tars, "classes.txt": "cat\ndog\nowl\n" });
  expect((await open(named)).classes).toBe(3);
  const both = { ...tars, "train/cat/a.jpg": image, "val/cat/a.jpg": image };
  const folder = await open(folderWith(both));
  expect([folder.classes, folder.shards]).toEqual([1, undefined]);
});

test("concatenated tars are read to the end of the last", async () => {
  const padding = Buffer.alloc(10240 - 1024);
  const folder = folderWith({
    "train-000000.tar": Buffer.concat([
      tarOf(pair("a", 0)),
      tarOf(pair("b", 1)),
      padding,
      tarOf([]),
      tarOf(pair("c", 2)).subarray(0, -512), // one empty block ends it
      tarOf(pair("d", 3)),
      padding,
    ]),
    ...val,
  });
  const { train } = await open(folder);
  expect((await fill(train, range(4))).labels).toEqual([0, 1, 2, 3]);
});

test("incomplete samples are left out and reported, or refused if strict", async () => {
  const folder = folderWith({
    "train-000000.tar": tarOf([
      { name: "a.cls", bytes: "0" },
      { name: "a.jpg", bytes: "" },
      { name: "b.jpg", bytes: image, type: "2" },
      ...pair("c", 1),
      { name: "d.jpg", bytes: image },
      { name: "e.jpg", bytes: image },
      { name: "e.json", bytes: '{"label": -1}' },
    ]),
    ...val,
  });
  const { train, notes, shards } = await open(folder);
  expect((await fill(train, [0])).labels).toEqual([1]);
  expect(shards).toEqual([1]);
  expect(notes?.[1]).toMatch(
    /warning: .* images of 1 of 2 classes; there are as many as the largest label says, without .*classes.txt/,
  );
  expect(notes?.[2]).toMatch(
    /left out: 1 sample without image, such as .*train-000000.tar, offset 512: a; 2 samples without label, such as .*: d.jpg/,
  );
  await expect(open(folder, true)).rejects.toThrow(/1 sample without image.*strict: true/s);
});

test("an index is used again until a shard's time or size changes", async () => {
  const folder = folderWith({ "train-000000.tar": tarOf(pair("a", 1)), ...val });
  const shard = join(folder, "train-000000.tar");
  const first = await open(folder);
  const second = await open(folder);
  expect([first.listings(), second.listings()]).toEqual([2, 0]);
  expect(second.fingerprint).toBe(first.fingerprint);
  expect(await fill(second.train, [0])).toEqual(await fill(first.train, [0]));

  const { atime, mtime } = statSync(shard);
  writeFileSync(shard, tarOf([...pair("a", 1), ...pair("b", 0)]));
  utimesSync(shard, atime, mtime);
  const larger = await open(folder);
  expect([larger.listings(), larger.train.length]).toEqual([1, 2]);
  expect(larger.fingerprint).not.toBe(first.fingerprint);

  writeFileSync(shard, tarOf([...pair("a", 0), ...pair("b", 1)]));
  utimesSync(shard, atime, new Date(mtime.getTime() + 5000));
  const later = await open(folder);
  expect(later.listings()).toBe(1);
  expect((await fill(later.train, [0, 1])).labels).toEqual([0, 1]);
});

test("pixels, labels and augmentation are those of the same images in a folder", async () => {
  const keys = range(12).map((i) => ({ i, label: i >> 2, key: `p${String(i).padStart(2, "0")}` }));
  const files: Record<string, Buffer> = {};
  const shards: Packed[][] = [[], [], []];
  for (const { i, label, key } of keys) {
    const bytes = await makeImage(i, i % 5 === 4 ? "png" : "jpeg");
    const extension = i % 5 === 4 ? "png" : "jpg";
    // One that is lost, and one that is damaged: both are dealt with as in a folder.
    const kept = i === 7 ? Buffer.from("none") : i === 10 ? bytes.subarray(0, -200) : bytes;
    for (const part of ["train", "val"]) files[`${part}/c${label}/${key}.${extension}`] = kept;
    shards[label]!.push(
      { name: `${key}.${extension}`, bytes: kept },
      { name: `${key}.cls`, bytes: String(label) },
    );
  }
  const folder = await open(folderWith(files));
  const tars = await open(
    folderWith({
      ...Object.fromEntries(shards.map((shard, i) => [`train-${i}.tar`, tarOf(shard)])),
      "val-0.tar": tarOf(shards.flat()),
    }),
  );
  const all = range(12);
  expect(await fill(tars.test, all)).toEqual(await fill(folder.test, all));
  const augment = { seed: 4, epoch: 2 };
  const augmented = await fill(tars.train, all, augment);
  expect(augmented).toEqual(await fill(folder.train, all, augment));
  expect(augmented.labels).toEqual([0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2]);
  expect(
    tars.inspection
      ?.takeNew()
      .map(({ text }) => text)
      .join("\n"),
  ).toMatch(/val-0.tar, offset \d+: p07.jpg cannot/);
});

const whole = tarOf(pair("a", 0));
const damaged = Buffer.from(whole);
damaged[3]! ^= 1;
const badPax = Buffer.concat([member("x", "999 path=a.jpg\n", "x"), whole]);

test.each<[string, Record<string, Buffer | string>, RegExp]>([
  ["no end", { "train-0.tar": whole.subarray(0, -1024), ...val }, /offset \d+: .*cut short.*empty/],
  [
    "cut in a header after its end",
    { "train-0.tar": Buffer.concat([whole, whole.subarray(0, 300)]), ...val },
    /the file is cut short.*a header, or nothing/,
  ],
  [
    "something else after its end",
    { "train-0.tar": Buffer.concat([whole, Buffer.alloc(512, "x")]), ...val },
    /offset \d+: there is no tar header, or a damaged one/,
  ],
  [
    "a long name with nothing after it",
    {
      "train-0.tar": Buffer.concat([whole, member("././@LongLink", "b.jpg\0", "L"), whole]).fill(
        0,
        whole.length + 1024,
      ),
      ...val,
    },
    /offset \d+: a header names b\.jpg, which is not there; expected/,
  ],
  ["cut in an image", { "train-0.tar": whole.subarray(0, 1700), ...val }, /ends at 1700.*of a.jpg/],
  ["cut in a header", { "train-0.tar": whole.subarray(0, 1100), ...val }, /cut short.*a header/],
  ["an empty file", { "train-0.tar": "", ...val }, /train-0.tar, offset 0: .*ends at 0/],
  ["a damaged header", { "train-0.tar": damaged, ...val }, /offset 0: there is no tar header/],
  ["no tar", { "train-0.tar": image, ...val }, /no tar header|cut short/],
  [
    "damaged pax records",
    { "train-0.tar": badPax, ...val },
    /offset 512: .*pax records are damaged/,
  ],
  ["a label that is not a number", { "train-0.tar": tarOf(pair("a", "cat")), ...val }, /is "cat"/],
  ["a negative label", { "train-0.tar": tarOf(pair("a", -1)), ...val }, /offset 512.*is "-1"/],
  [
    "JSON that is none",
    { "train-0.tar": tarOf([{ name: "a.json", bytes: "{" }]), ...val },
    /train-0.tar, offset 512: a.json: .*JSON.*expected a whole number/,
  ],
  [
    "a training label beyond classes.txt",
    { "train-0.tar": tarOf(pair("a", 2)), ...val, "classes.txt": "x\ny\n" },
    /train-0.tar, offset 1536: a.jpg has the label 2; expected 0 to 1, since .*classes.txt has 2/,
  ],
  [
    "a blank classes.txt",
    { "train-0.tar": whole, ...val, "classes.txt": "\n\n" },
    /classes.txt names no class; expected one a line/,
  ],
  [
    "a validation label that training has not",
    { "train-0.tar": tarOf(pair("a", 2)), "val-0.tar": tarOf(pair("v", 3)) },
    /val-0.tar, offset 1536: v.jpg has the label 3; expected 0 to 2/,
  ],
  [
    "a sample in two shards",
    { "train-0.tar": whole, "train-1.tar": tarOf([...pair("b", 0), ...pair("a", 1)]), ...val },
    /train-1.tar, offset \d+: the sample a is in .*train-0.tar too, at offset 1536/,
  ],
  [
    "two images of a sample",
    { "train-0.tar": tarOf([...pair("a", 0), { name: "a.png", bytes: image }]), ...val },
    /a.png is the second image of the sample a, whose first lies at 1536/,
  ],
  [
    "a name with a line feed",
    { "train-0.tar": tarOf([{ name: "a\nb.jpg", bytes: image }]), ...val },
    /names without tabs or line feeds/,
  ],
  [
    "nothing complete",
    { "train-0.tar": tarOf([{ name: "a.jpg", bytes: image }]), ...val },
    /no sample has an image and a label \(1 sample without label/,
  ],
  ["no sample", { "train-0.tar": tarOf([]), ...val }, /no sample has an image.*\(there is none\)/],
  ["no validation", { "train-0.tar": whole }, /1 training shards?, .*expected val-000000.tar/],
])("refused: %s", async (_, files, message) => {
  const opened = open(folderWith(files));
  await expect(opened).rejects.toThrow(message);
  await expect(opened).rejects.toMatchObject({ code: "ERR_ONEHOUR_DATA" });
});

test("a shard that is a link to nothing is named", async () => {
  const folder = folderWith({ "train-0.tar": whole, ...val });
  symlinkSync(join(folder, "nowhere"), join(folder, "train-1.tar"));
  await expect(open(folder)).rejects.toMatchObject({
    code: "ERR_ONEHOUR_DATA",
    message: expect.stringMatching(/cannot read .*train-1\.tar .*expected a tar/),
  });
});
