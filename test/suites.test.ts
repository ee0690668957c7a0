// Checks that every test file and every suite of package.json runs in continuous integration.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const root = fileURLToPath(new URL("..", import.meta.url));
const read = (file: string) => readFileSync(join(root, file), "utf8");
const scripts = JSON.parse(read("package.json")).scripts as Record<string, string>;
const suites = Object.keys(scripts).filter((name) => name.startsWith("test:"));

/** Run by people alone: all of what test:cuda does in part. */
const byHand = ["test:plans"];

const called = /^heavier=\(\n([\s\S]*?)^\)/m
  .exec(read(".ci/run"))![1]!
  .split("\n")
  .map((line) => line.replace(/#.*/, "").trim())
  .filter(Boolean)
  .map((name) => `test:${name}`);

test(".ci/run calls every suite, and no other", () => {
  expect(called.sort()).toEqual(suites.filter((name) => !byHand.includes(name)).sort());
});

test("every heavy test file runs in one of them, and is there", () => {
  const files = readdirSync(join(root, "test"), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".heavy.ts"))
    .map((file) => `test/${file}`);
  const run = [...called, ...byHand].flatMap(
    (name) => scripts[name]!.match(/\S+\.heavy\.ts/g) ?? [],
  );
  expect([...new Set(run)].sort()).toEqual(files.sort());
});
