// Checks that `onehour evaluate` reports on its data what `train` reports.
import { copyFileSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { formatSafetensors } from "../../lib/run-folder/safetensors.js";
import { flat } from "../data/images/decoded.js";
import { temporaryFolder, writeFiles } from "../support/folder.js";
import { onehour, typed } from "./command.js";

test("reports a damaged list of a folder's images, and files that are not images", async () => {
  const folder = temporaryFolder();
  const images = join(folder, "images");
  const image = await flat(24, 24).jpeg().toBuffer();
  for (const part of ["train", "val"])
    for (const name of ["a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg"])
      writeFiles(images, { [`${part}/${name}`]: image });
  writeFiles(images, { "val/a/notes.txt": "" });
  const out = join(folder, "run");
  const small = ["--image-size", "16", "--batch", "2", "--threads", "1", "--steps", "1"];
  const model = ["--model", "resnet8", "--out", out];
  const trained = await onehour(["train", images, ...small, ...model]);
  const leftOut = /^left out of .*val: .*a\/notes\.txt$/m;
  expect(trained.stdout).toMatch(leftOut);

  const env = { XDG_CACHE_HOME: join(folder, "cache") };
  const evaluate = () => onehour(["evaluate", out, images], { env });
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

test("evaluates on the checkpoint's own data set if none is given", async () => {
  const folder = temporaryFolder();
  const out = join(folder, "run");
  const data = "synthetic:8x8x1:4:64";
  const small = ["--batch", "4", "--threads", "1", "--steps", "2"];
  expect((await onehour(["train", data, ...small, "--out", out])).status).toBe(0);
  const named = await onehour(["evaluate", out, data]);
  expect(named.stdout).toMatch(/^test accuracy /);

  // The file alone names it too, wherever it lies.
  const elsewhere = join(folder, "copy.safetensors");
  copyFileSync(join(out, "checkpoint.safetensors"), elsewhere);
  for (const [given, file] of [
    [out, join(out, "checkpoint.safetensors")],
    [elsewhere, elsewhere],
  ] as const) {
    const { status, stdout, stderr } = await onehour(["evaluate", given]);
    expect(stderr).toBe(`data set: ${data}, as in the run of ${file}\n`);
    expect(stdout).toBe(named.stdout);
    expect(status).toBe(0);
  }

  const foreign = join(folder, "foreign.safetensors");
  const tensor = { name: "fc.bias", shape: [4], data: new Float32Array(4) };
  writeFileSync(foreign, Buffer.concat(formatSafetensors([tensor], {})));
  const { status, stderr } = await onehour(["evaluate", foreign]);
  expect(stderr).toBe(
    `onehour: ${foreign} does not say which data set it was trained on; name one to test it on: ` +
      `${typed} evaluate ${foreign} DATASET\n`,
  );
  expect(status).toBe(2);
});
