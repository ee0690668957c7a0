// Loads a user's own module once, in every dialect, and leaves its errors as they are.
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { temporaryFolder } from "../support/folder.js";

const dist = fileURLToPath(new URL("../../dist/", import.meta.url));
const folder = temporaryFolder();

function write(name: string, source: string): string {
  const path = join(folder, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, source);
  return path;
}

write("module/package.json", '{"type": "module"}');
write("commonjs/package.json", '{"type": "commonjs"}');
write(
  "helper.ts",
  `import { appendFileSync } from "node:fs";
export enum Color { Red = 1 }
export interface Shape { sides: number }
export const note = (text: string) => appendFileSync(process.env.NOTES!, text + "\\n");
note("helper");\n`,
);
write("plain/data.json", '{"seed": 7}');

const esm = `import { note } from "../helper.ts";
note("began");
await null;
throw new Error("no luck");\n`;
const typed = `import { note, Color, Shape } from "../helper.js";
const shape: Shape = { sides: await Promise.resolve(4) };
note("began" as string);
throw new Error(\`no luck with \${shape.sides} \${Color.Red}\`);\n`;
const commonjs = `const { note } = require("../helper.js");
note("began");

throw new Error("no luck");\n`;
const typedCommonJs = `import helper = require("../helper");
import type { Shape } from "../helper";
helper.note("began" as string);
throw new Error("no luck");\n`;

/** Loads modules in a process of its own, like a launcher's worker; returns how each ended. */
function load(...files: string[]): { notes: string[]; failed: (string | null)[] } {
  const notes = join(folder, "notes");
  writeFileSync(notes, "");
  const driver = `const { loadModule } = await import(${JSON.stringify(`${dist}modules/load-module.js`)});
const failed = [];
for (const file of process.argv.slice(1))
  failed.push(await loadModule(file).then(() => null, ({ stack }) => stack));
console.log(JSON.stringify(failed));`;
  const output = execFileSync(
    process.execPath,
    ["--input-type=module", "--eval", driver, "--", ...files],
    { encoding: "utf8", env: { ...process.env, NOTES: notes } },
  );
  return {
    notes: readFileSync(notes, "utf8").trimEnd().split("\n"),
    failed: JSON.parse(output.trimEnd().split("\n").at(-1)!),
  };
}

describe("a module that throws", () => {
  const cases = [
    ...["plain/a.mjs", "plain/a.js", "module/a.js", "commonjs/a.js"].map((name) => [name, esm]),
    ...["plain/a.ts", "module/a.ts", "commonjs/a.ts", "plain/a.mts"].map((name) => [name, typed]),
    ...["plain/a.cjs", "module/a.cjs", "plain/b.js", "commonjs/b.js"].map((name) => [
      name,
      commonjs,
    ]),
    ...["plain/a.cts", "plain/b.ts"].map((name) => [name, typedCommonJs]),
    ["plain/indirect.mjs", 'import "./a-throws.mjs";\n'],
  ] as [string, string][];
  write("plain/a-throws.mjs", esm);
  const files = cases.map(([name, source]) => write(name, source));
  const { notes, failed } = load(...files);

  test.each(cases.map(([name], index) => [name, index] as const))("%s", (name, index) => {
    const place = name.replace("indirect", "a-throws");
    expect(failed[index]).toMatch(/^(.*\n)*Error: no luck/);
    expect(failed[index]).toMatch(`${join(folder, place)}:4:`);
  });

  test("runs once, and so does what it imports", () => {
    expect(notes.filter((line) => line === "began")).toHaveLength(cases.length);
    expect(notes.filter((line) => line === "helper")).toHaveLength(1);
  });
});

test("a module imports the package that loads it, disposes and reads JSON", () => {
  const source = `import { note } from "../helper";
import { train } from "onehour";
import data from "./data.json";
{
  using _ = { [Symbol.dispose]: () => note("disposed") };
  note([typeof train, data.seed, __dirname].join(" "));
}\n`;
  const required = `const { train } = require("onehour");
require("../helper").note("required " + typeof train);\n`;
  const { notes, failed } = load(
    write("plain/whole.ts", source),
    write("plain/whole.cjs", required),
    write(
      "node_modules/example/whole.ts",
      'import { note } from "../../helper.ts"; note("example");',
    ),
  );
  expect(failed).toEqual([null, null, null]);
  expect(notes).toEqual([
    "helper",
    `function 7 ${join(folder, "plain")}`,
    "disposed",
    "required function",
    "example",
  ]);
});

test.each(["r.cjs", "r.cts", "r.mjs", "r.ts"])(
  "a module that %s lacks is named as it was written",
  (name) => {
    const isCommonJs = name.includes(".c");
    const source = isCommonJs ? 'require("./nowhere.js");\n' : 'import "./nowhere.js";\n';
    const { failed } = load(write(name, source));
    expect(failed[0]).toMatch(/Cannot find module '\S*\/nowhere\.js'/);
    expect(failed[0]).toMatch(join(folder, name));
  },
);

test.each(["s.ts", "s.mts", "s.mjs"])("a syntax error in %s is reported with its place", (name) => {
  const { failed } = load(write(name, "const a = 1;\nconst b = ;\n"));
  expect(failed[0]).toMatch(`SyntaxError: ${join(folder, name)}:2:11: Unexpected ";"`);
});
