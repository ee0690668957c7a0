// Pins a user's own module by path and digest.
import { mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import {
  foreignFolderOf,
  isModule,
  loadPinned,
  modulePath,
  moduleRest,
  pinned,
  titleOf,
} from "../../lib/modules/pinned.js";
import { temporaryFolder } from "../support/folder.js";

const folder = temporaryFolder();
const file = join(folder, "own.mjs");
const elsewhere = "/elsewhere/weights.safetensors";

test("keeps the path and the contents' digest, and refuses a later change", async () => {
  writeFileSync(file, "export default 1;\n");
  const name = pinned(file);
  expect(name).toMatch(/^\/.*own\.mjs#sha256:[0-9a-f]{64}$/);
  expect(pinned(name)).toBe(name);
  expect(modulePath(name)).toBe(file);
  writeFileSync(file, "export default 2;\n");
  expect(() => pinned(name)).toThrow(/own\.mjs is not the module that the run began with/);
  await expect(loadPinned(name, "a number")).rejects.toThrow(/have changed/);
  expect(pinned(file)).not.toBe(name);
});

test.each([
  ["./net.ts", true],
  ["data.cjs", true],
  [`/a/b.mts#sha256:${"0".repeat(64)}`, true],
  ["resnet50", false],
  ["cosine", false],
  ["fashion-mnist:/data/mine.ts", false],
  [".ts", false],
  ["folder/.ts", false],
  ["my folder/net.ts", true],
  ["/data/imagenet", false],
])("%s is a module: %s", (name, is) => {
  expect(isModule(name)).toBe(is);
});

test.each([
  ["./data.ts:16x16", "16x16"],
  ["./data.ts", undefined],
  ["./a:b.ts:c", "c"],
])("%s has %s after its path, with a digest too", (name, rest) => {
  expect(moduleRest(name)).toBe(rest);
  const whole = `${name}#sha256:${"0".repeat(64)}`;
  expect(moduleRest(whole)).toBe(rest);
  expect(modulePath(whole)).toBe(modulePath(name));
  expect(titleOf(whole)).toMatch(/^(data|a:b)$/);
});

test.each(["log.jsonl", "checkpoint.safetensors", "best.safetensors", "recipe.json"])(
  "a folder with a run's %s is a run folder, whatever lies how deep in it",
  (name) => {
    const run = mkdtempSync(join(folder, "run-"));
    mkdirSync(join(run, "deep", "er"), { recursive: true });
    const inside = join(run, "deep", "er", "own.ts");
    writeFileSync(inside, "export default 1;");
    expect(foreignFolderOf(inside, elsewhere)).toBeUndefined();
    writeFileSync(join(run, name), '{"digest": "…"}');
    expect(foreignFolderOf(`${inside}:rest`, elsewhere)).toBe(run);
    symlinkSync(inside, join(folder, `${name}.ts`));
    expect(foreignFolderOf(join(folder, `${name}.ts`), elsewhere)).toBe(run);
  },
);

test("a user's own recipe.json does not make a folder a run folder", () => {
  const own = mkdtempSync(join(folder, "own-"));
  writeFileSync(join(own, "recipe.json"), '{"lr": 1}');
  expect(foreignFolderOf(join(own, "net.ts"), elsewhere)).toBeUndefined();
});

test("a module in or below the folder of the file that names it may have come with it", () => {
  const sent = mkdtempSync(join(folder, "sent-"));
  mkdirSync(join(sent, "src"));
  const weights = join(sent, "weights.safetensors");
  writeFileSync(weights, "");
  const link = join(folder, "linked.safetensors");
  symlinkSync(weights, link);
  for (const name of ["net.ts", "src/net.ts"]) {
    writeFileSync(join(sent, name), "export default 1;");
    for (const file of [weights, link, join(sent, "any.json")])
      expect(foreignFolderOf(join(sent, name), file)).toBe(sent);
    expect(foreignFolderOf(join(sent, name), join(sent, "src", "deep", "x.json"))).toBeUndefined();
  }
  expect(foreignFolderOf(join(sent, "net.ts"), `${sent}-2/weights.safetensors`)).toBeUndefined();
  expect(foreignFolderOf(join(sent, "net.ts"), join(sent, "recipe.ts"))).toBeUndefined();
});

test("refuses a file that changed since it was loaded: Node has the old one", async () => {
  const changing = join(folder, "changing.mjs");
  writeFileSync(changing, "export default 1;");
  expect(await loadPinned(changing, "a number")).toBe(1);
  writeFileSync(changing, "export default 2;");
  await expect(loadPinned(changing, "a number")).rejects.toThrow(/has changed since this process/);
});

test("names a file that is not there", () => {
  expect(() => pinned(join(folder, "none.ts"))).toThrow(/the module .*none\.ts cannot be read/);
});

test("names a folder where a module was expected", () => {
  mkdirSync(join(folder, "folder.ts"));
  expect(() => pinned(join(folder, "folder.ts"))).toThrow(
    /folder\.ts cannot be read \(it is a folder/,
  );
});
