// Runs `onehour bench loader` on so few images that it takes seconds.
import { cpSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { benchLoader, type LoaderBenchResult, loaderTable } from "../../lib/bench/loader.js";
import { makeImages } from "../../lib/bench/sample-images.js";
import { onehour } from "../cli/command.js";
import { temporaryFolder } from "../support/folder.js";

const folder = temporaryFolder();
const images = join(folder, "images");
const env = { XDG_CACHE_HOME: join(folder, "cache"), TMPDIR: folder };
const small = ["--size", "32", "--batch", "4", "--threads", "1", "--rounds", "1"];

beforeAll(() => makeImages(images, 8));

describe("the command", () => {
  test("--json reports both kinds of crop of a folder", async () => {
    const { status, stdout, stderr } = await onehour(
      ["bench", "loader", images, ...small, "--batches", "3", "--json"],
      { env },
    );
    expect(stderr).toBe("");
    expect(status).toBe(0);
    const result: LoaderBenchResult = JSON.parse(stdout);
    const counts = { trainingImages: 8, testImages: 8 };
    const settings = { folder: images, ...counts, size: 32, threads: 1, cores: 1, batch: 4 };
    expect(result).toMatchObject({ settings, batches: 3 });
    expect(result).not.toHaveProperty("ratios");
    expect(result.results.map(({ name, crop }) => [name, crop])).toEqual([
      ["onehour", "training"],
      ["onehour", "evaluation"],
    ]);
    for (const row of result.results) {
      expect(row.images).toBe(12);
      expect(row.rounds).toEqual([row.imagesPerSecond]);
      expect(row.imagesPerSecondPerCore).toBe(row.imagesPerSecond);
      expect(row.imagesPerSecond).toBeGreaterThan(0);
      expect(row.reading).toBeGreaterThan(0);
      expect(row.decoding).toBeGreaterThan(row.reading!);
      expect(row.reading! + row.decoding!).toBeLessThanOrEqual(1);
    }
  });

  test.each([
    [["--threads", "0"], "--threads", 2],
    [["--rounds", "0"], "--rounds", 2],
    [["--size", "7"], "--size", 2],
    [["--batch", "9"], "at most 8", 2],
    [["--against", "pytorch"], "pip install torch==.* numpy pillow", 1],
  ])("refuses %j", async (flags, says, expected) => {
    const { status, stdout, stderr } = await onehour(
      ["bench", "loader", images, ...small, ...flags],
      { env: { ...env, ONEHOUR_PYTHON: "/nowhere/python3" } },
    );
    expect(stderr).toMatch(new RegExp(says));
    expect(stderr).not.toMatch(/^\s+at /m);
    expect(stdout).toBe("");
    expect(status).toBe(expected);
  });

  test("reports files of the folder that are not images", async () => {
    const odd = join(folder, "odd");
    cpSync(images, odd, { recursive: true });
    const [label] = readdirSync(join(odd, "train"));
    writeFileSync(join(odd, "train", label!, "notes.txt"), "");
    const { status, stderr } = await onehour(
      ["bench", "loader", odd, ...small, "--batches", "1", "--json"],
      { env },
    );
    expect(stderr).toMatch(/^left out of .*notes\.txt$/m);
    expect(status).toBe(0);
  });

  test("refuses a folder without train/", async () => {
    const { status, stderr } = await onehour(["bench", "loader", join(images, "val"), ...small], {
      env,
    });
    expect(stderr).toMatch("holds no train/");
    expect(status).toBe(2);
  });

  test("times a user's own data set", async () => {
    const run = (...args: string[]) =>
      onehour(["bench", "loader", "examples/data.ts", "--batch", "4", "--rounds", "1", ...args]);
    const { status, stdout, stderr } = await run("--batches", "3", "--json");
    expect(stderr).toBe("");
    expect(status).toBe(0);
    const { settings, results }: LoaderBenchResult = JSON.parse(stdout);
    expect(settings).toMatchObject({
      ...{ trainingImages: 1536, testImages: 96, batch: 4 },
      images: { height: 16, width: 16, channels: 1 },
    });
    expect(results.map(({ crop, images }) => [crop, images])).toEqual([
      ["training", 12],
      ["evaluation", 12],
    ]);
    for (const row of results) expect(row).not.toHaveProperty("decoding");
    expect((await run("--batches", "1")).stdout).toMatch(/^images of 16×16×1, batch 4, /m);
    for (const flag of ["--size", "--threads"]) {
      const refused = await run(flag, "8");
      expect(refused.stderr).toMatch(`${flag} is for folders of images; `);
      expect(refused.status).toBe(2);
    }
  });

  test("a signal removes the images that it made", async () => {
    const made = () => readdirSync(folder).filter((name) => name.startsWith("onehour-"));
    const { status } = await onehour(["bench", "loader", ...small], {
      env,
      signal: { name: "SIGTERM", when: () => made().length > 0 },
    });
    expect(status).toBe(143);
    expect(made()).toEqual([]);
  });
});

describe("without a folder", () => {
  const old = process.env.TMPDIR;
  const own = temporaryFolder();
  beforeAll(() => {
    process.env.TMPDIR = own;
  });
  afterAll(() => {
    if (old === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = old;
  });

  test("images are made and removed", async () => {
    const options = { images: 8, size: 32, threads: 1, batch: 4, rounds: 1, batches: 2 };
    const result = await benchLoader(options);
    expect(result.settings).toEqual({
      ...{ trainingImages: 8, testImages: 8 },
      ...{ size: 32, threads: 1, cores: 1, batch: 4 },
    });
    expect(result.results.map(({ images }) => images)).toEqual([8, 8]);
    expect(readdirSync(own)).toEqual([]);
  });
});

test("the table compares the rates to PyTorch's", () => {
  const row = (name: string, crop: "training" | "evaluation", rate: number) => ({
    ...{ name, crop, images: 100, rounds: [rate] },
    ...{ imagesPerSecond: rate, imagesPerSecondPerCore: rate / 2 },
  });
  const ours = { reading: 0.015, decoding: 0.9 };
  const text = loaderTable({
    settings: {
      ...{ trainingImages: 1234, testImages: 10 },
      ...{ size: 224, threads: 4, cores: 2, batch: 32 },
    },
    processor: "a processor",
    batches: 6,
    results: [
      { ...row("onehour", "training", 1200), ...ours },
      row("PyTorch 2", "training", 600),
      { ...row("onehour", "evaluation", 1500), ...ours },
      row("PyTorch 2", "evaluation", 500),
    ],
    ratios: { training: 2, evaluation: 3 },
  });
  expect(text).toMatch(/^1,234 images .* made for this$/m);
  expect(text).toMatch(/onehour +training +1200 +600 +1\.5 % +90\.0 % +2\.00×$/m);
  expect(text).toMatch(/PyTorch 2 +evaluation +500 +250$/m);
  expect(text).toMatch("4 threads shared 2 cores");
});
