// A user's own module by path and digest.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { isModule, liesIn, loadPinned, modulePath, pinned } from "../../lib/modules/pinned.js";

const folder = mkdtempSync(join(tmpdir(), "onehour-pinned-"));
afterAll(() => rmSync(folder, { recursive: true }));
const file = join(folder, "own.mjs");

test("keeps the path and the contents' digest, which a later change is refused by", async () => {
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
  ["/data/imagenet", false],
])("%s is a module: %s", (name, is) => {
  expect(isModule(name)).toBe(is);
});

test("knows what lies in a folder", () => {
  expect(liesIn(folder, file)).toBe(true);
  expect(liesIn(join(folder, "run"), file)).toBe(false);
  expect(liesIn(folder, `${folder}-other/own.mjs`)).toBe(false);
});

test("names a file that is not there", () => {
  expect(() => pinned(join(folder, "none.ts"))).toThrow(/the module .*none\.ts cannot be read/);
});
