// `onehour evaluate` tells of its data what `train` tells.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { expect, test } from "vitest";
import { onehour, temporaryFolder } from "./command.js";

test("a damaged list of a folder's images, and what the folder holds beside them", async () => {
  const folder = temporaryFolder();
  const pictures = join(folder, "pictures");
  const background = { r: 10, g: 200, b: 30 };
  const image = await sharp({ create: { width: 24, height: 24, channels: 3, background } })
    .jpeg()
    .toBuffer();
  for (const part of ["train", "val"]) {
    for (const label of ["a", "b"]) {
      mkdirSync(join(pictures, part, label), { recursive: true });
      for (const i of [1, 2]) writeFileSync(join(pictures, part, label, `${i}.jpg`), image);
    }
  }
  writeFileSync(join(pictures, "val", "a", "notes.txt"), "");
  const out = join(folder, "run");
  const small = ["--image-size", "16", "--batch", "2", "--threads", "1", "--steps", "1"];
  const model = ["--model", "resnet8", "--out", out];
  const trained = await onehour(["train", pictures, ...small, ...model]);
  const leftOut = /^left out of .*val: .*a\/notes\.txt$/m;
  expect(trained.stdout).toMatch(leftOut);

  const env = { XDG_CACHE_HOME: join(folder, "cache") };
  const evaluate = () => onehour(["evaluate", out, pictures], { env });
  const damaged = /^.*\.index, the list of images in .*, was damaged and is made anew$/gm;
  const first = await evaluate();
  expect(first.stderr).toMatch(leftOut);
  expect(first.stderr).not.toMatch(damaged);
  const lists = join(folder, "cache", "onehour", "indexes");
  for (const name of readdirSync(lists)) {
    const list = join(lists, name);
    writeFileSync(list, readFileSync(list, "utf8").replace("1.jpg", "3.jpg"));
  }
  const second = await evaluate();
  expect(second.stderr.match(damaged)).toHaveLength(2);
  expect(second.stdout).toBe(first.stdout);
  expect(second.status).toBe(0);
});
