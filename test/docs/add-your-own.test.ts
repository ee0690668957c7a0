// Keeps docs/add-your-own.md true: its examples match examples/, its lists of files match the
// repository, and the code that the reader types fits in and compiles.
import { spawnSync } from "node:child_process";
import { readdirSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { temporaryFolder } from "../support/folder.js";
import { read, root, typeErrors } from "./pages.js";

const page = read("docs/add-your-own.md");
const folder = temporaryFolder();

/** Files that make the product and what proves it, without the tests. */
const files = ["lib", "native", "proof", "scripts", "test/fixtures"].flatMap((top) =>
  readdirSync(join(root, top), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name).slice(root.length)),
);

/** Whether a file mentions a name at the beginning of a word; a fixture does by its own name. */
const mentions = (file: string, name: string) =>
  file.startsWith("test/fixtures/")
    ? basename(file).startsWith(`${name}.`)
    : new RegExp(`\\b${name}`).test(read(file));

/** Rows of the first table that have an example in the repository: the name, and the files it takes. */
const counted = [...page.matchAll(/^\| .+ \| .+ \| `(\w+)`: (`.+`) \|$/gm)].map(
  ([, name, listed]) => [name!, listed!.slice(1, -1).split("`, `")] as const,
);

test("the page has rows to count", () => {
  expect(counted.map(([name]) => name)).toEqual([
    "checkpointMinutes",
    "sigmoid",
    "buildLars",
    "cosine",
    "vggs",
  ]);
});

test.each(counted)("%s takes the files that the page lists, and no others", (name, listed) => {
  expect(files.filter((file) => mentions(file, name)).sort()).toEqual([...listed].sort());
});

test.each(["net.ts", "data.ts", "schedule.ts"])("the module %s is the example", (name) => {
  const [, quoted] = page.split(`here \`${name}\`:\n\n\`\`\`ts\n`);
  const example = read(`examples/${name}`).replace(/^(\/\/.*\n)+/, "");
  expect(quoted?.split("```")[0]).toBe(example);
});

/** The files as they are after the reader has typed the page's code, in its order. */
function typed(): Map<string, string> {
  const edited = new Map<string, string>();
  const step =
    /(In|At the end of|New file) `([^`]+)`(?:, (above|in place of) `([^`]+)`)?[^`\n]*:\n\n```\w+\n([\s\S]*?)```/g;
  for (const [, where, file = "", how, anchor = "", code = ""] of page.matchAll(step)) {
    const text = edited.get(file) ?? (where === "New file" ? "" : read(file));
    if (where === "In") {
      const parts = text.split(anchor);
      expect(parts, `${file}: ${anchor}`).toHaveLength(2);
      const line = text.lastIndexOf("\n", text.indexOf(anchor)) + 1;
      edited.set(
        file,
        how === "above"
          ? text.slice(0, line) + code + text.slice(line)
          : parts.join(code.trimEnd()),
      );
    } else edited.set(file, `${text}\n${code}`);
  }
  return edited;
}

describe("what the reader types", () => {
  const edited = typed();
  const named = (ending: string) => [...edited.keys()].filter((file) => file.endsWith(ending));

  test("is all that the page has of code", () => {
    expect(named(".ts")).toHaveLength(6);
    expect([named(".cc"), named(".cu"), named(".py")].flat()).toEqual([
      "native/cpu/ops/elementwise.cc",
      "native/cuda/ops/elementwise.cu",
      "scripts/oracle.py",
    ]);
  });

  test("has the right types", () => {
    const modules = new Map(named(".ts").map((file) => [file, edited.get(file)!]));
    expect(typeErrors(modules)).toEqual([]);
  });

  // The emulated GPU's headers stand for CUDA's, as in the build of the emulated module.
  test.each([
    ["native/cpu/ops/elementwise.cc", ["-fopenmp"]],
    ["native/cuda/ops/elementwise.cu", ["-I", "native/test/emulator", "-Wno-unknown-pragmas"]],
  ])("compiles: %s", (file, options) => {
    const copy = join(folder, `${basename(file)}.cc`);
    writeFileSync(copy, edited.get(file)!);
    const arguments_ = ["-std=c++20", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", ...options];
    const { stderr, status } = spawnSync("c++", [...arguments_, "-iquote", dirname(file), copy], {
      cwd: root,
      encoding: "utf8",
    });
    expect(stderr).toBe("");
    expect(status).toBe(0);
  });
});
