// Decodes every kind of image and compares it to Pillow's result (scripts/oracle-images.py).
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { ImageDecoder } from "../../../lib/data/images/image-decoder.js";
import { parseSafetensors } from "../../../lib/run-folder/safetensors.js";
import { temporaryFolder } from "../../support/folder.js";

const folder = join(import.meta.dirname, "../../fixtures/images");
const { tensors } = parseSafetensors(
  "crops.safetensors",
  readFileSync(join(folder, "crops.safetensors")),
);
const size = 48;
const shortSide = 55;
const bytes = size * size * 3;
const images = new ImageDecoder(2);
afterAll(() => images.dispose());

const floats = (name: string) => new Float64Array(new Uint8Array(tensors.get(name)!.bytes).buffer);

/** What a file decodes to, of a crop by these draws, and its flaws. */
async function decoded(
  file: string,
  changes: { crops?: Float64Array; jitters?: Float64Array } = {},
) {
  const target = new Uint8Array(bytes);
  const request = { files: [join(folder, file)], target, size, shortSide };
  return { target, flaws: await images.decode({ ...request, ...changes }) };
}

/** The draws of a case, where it is a crop. */
const cropOf = ({ name, draws }: { name: string; draws: string }) =>
  name.endsWith("/crop") ? { crops: floats(draws) } : {};

/** Mean difference in grey levels, and the largest. */
function differences(got: Uint8Array, expected: Uint8Array): { mean: number; most: number } {
  expect(got.length).toBe(expected.length);
  let sum = 0;
  let most = 0;
  for (let i = 0; i < got.length; i++) {
    const difference = Math.abs(got[i]! - expected[i]!);
    sum += difference;
    most = Math.max(most, difference);
  }
  return { mean: sum / got.length, most };
}

const cases = [...tensors.keys()]
  .filter((name) => !name.endsWith("/draws"))
  .map((name) => ({ name, file: name.split("/")[0]!, draws: name.replace(/crop$/, "draws") }));

describe("an image equals Pillow's, within two grey levels on average", () => {
  test.each(cases)("$name", async (each) => {
    const { target, flaws } = await decoded(each.file, cropOf(each));
    expect(flaws).toEqual([]);
    const { mean } = differences(target, tensors.get(each.name)!.bytes);
    expect(mean).toBeLessThan(2);
  });
});

test("without a scale of libjpeg's own, every value is within one grey level", async () => {
  // This crop of 400 × 300 pixels at 48 × 48 is less than twice as large as its output.
  const small = cases.filter(({ file }) => file === "small.jpg");
  expect(small.length).toBeGreaterThan(1);
  for (const each of small) {
    const { target } = await decoded("small.jpg", cropOf(each));
    expect(differences(target, tensors.get(each.name)!.bytes).most).toBeLessThanOrEqual(1);
  }
});

test("an image's place in the batch and the number of threads change nothing", async () => {
  const files = ["wide.jpg", "palette.png", "tall.jpg", "grey.jpg"].map((name) =>
    join(folder, name),
  );
  const draws = ["0", "1", "2", "3"].map((i) => floats(`wide.jpg/${i}/draws`));
  const decode = async (order: number[], by: ImageDecoder) => {
    const target = new Uint8Array(4 * bytes);
    const crops = Float64Array.from(order.flatMap((i) => [...draws[i]!]));
    await by.decode({ files: order.map((i) => files[i]!), target, size, shortSide, crops });
    return order.map((_, i) => target.slice(i * bytes, (i + 1) * bytes));
  };
  const forwards = await decode([0, 1, 2, 3], images);
  const single = new ImageDecoder(1);
  const backwards = await decode([3, 2, 1, 0], single);
  single.dispose();
  expect(backwards.reverse()).toEqual(forwards);
});

test("reports what cannot be decoded, and decodes a cut file as far as it goes", async () => {
  const names = ["header-only.jpg", "cut.jpg", "text.jpg", "tall.jpg", "cmyk.jpg"];
  const target = new Uint8Array(names.length * bytes);
  const files = names.map((name) => join(folder, name));
  const flaws = await images.decode({ files, target, size, shortSide });
  expect(flaws.map(({ image, lost }) => [names[image], lost])).toEqual(
    [
      ["cut.jpg", false],
      ["header-only.jpg", true],
      ["text.jpg", true],
    ].sort((a, b) => names.indexOf(a[0] as string) - names.indexOf(b[0] as string)),
  );
  expect(flaws.find(({ image }) => image === 1)!.reason).toMatch(/premature end/i);
  // The upper half of the cut image is that of the whole one.
  const upper = (of: Uint8Array) => of.subarray(0, bytes / 4);
  const whole = tensors.get("wide.jpg/evaluation")!.bytes;
  expect(differences(upper(target.subarray(bytes, 2 * bytes)), upper(whole)).mean).toBeLessThan(2);
});

test("a missing file is an error that names it", async () => {
  const request = { files: [join(folder, "none.jpg")], target: new Uint8Array(bytes) };
  await expect(images.decode({ ...request, size, shortSide })).rejects.toMatchObject({
    code: "ERR_ONEHOUR_DATA",
    message: expect.stringMatching(/none\.jpg \(No such file/),
  });
});

test("what is no regular file is neither waited for nor read", async () => {
  const pipe = join(temporaryFolder(), "pipe.jpg");
  execFileSync("mkfifo", [pipe]);
  for (const file of [pipe, "/dev/null", folder]) {
    const request = { files: [file], target: new Uint8Array(bytes), size, shortSide };
    await expect(images.decode(request)).rejects.toMatchObject({
      code: "ERR_ONEHOUR_DATA",
      message: expect.stringContaining(`${file} (it is not a regular file`),
    });
  }
});

test("a crop and a jitter of one change nothing that jitter does not", async () => {
  const crops = floats("tall.jpg/0/draws");
  const decode = async (jitters: number[]) =>
    (await decoded("tall.jpg", { crops, jitters: Float64Array.from(jitters) })).target;
  const plain = (await decoded("tall.jpg", { crops })).target;
  expect(await decode([1, 1, 1])).toEqual(plain);
  const dark = await decode([0.5, 1, 1]);
  for (const i of [0, 100, 5000])
    expect(Math.abs(dark[i]! - plain[i]! / 2)).toBeLessThanOrEqual(0.5);
  const grey = await decode([1, 1, 0]);
  for (const i of [0, 99, 3000]) {
    const [r, g, b] = plain.subarray(3 * Math.floor(i / 3));
    const luma = Math.round(0.299 * r! + 0.587 * g! + 0.114 * b!);
    expect(Math.abs(grey[3 * Math.floor(i / 3)]! - luma)).toBeLessThanOrEqual(1);
  }
});
