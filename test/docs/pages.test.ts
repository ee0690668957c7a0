// Type-checks the TypeScript in the pages, and checks that every link and named file exists.
import { existsSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { linksOf, read, root, typeErrors } from "./pages.js";

const pages = [
  "README.md",
  "SECURITY.md",
  ...readdirSync(join(root, "docs"))
    .filter((name) => name.endsWith(".md"))
    .map((name) => `docs/${name}`),
];
/** Its code goes into other files: add-your-own.test.ts puts it there. */
const typedIn = "docs/add-your-own.md";

test("the code is right", () => {
  const blocks = pages
    .filter((page) => page !== typedIn)
    .flatMap((page) =>
      [...read(page).matchAll(/```ts\n([\s\S]*?)```/g)].map(
        ([, code], i) => [`${page}.${i}.ts`, `${code}export {};\n`] as const,
      ),
    );
  expect(blocks.length).toBeGreaterThan(5);
  expect(typeErrors(new Map(blocks))).toEqual([]);
});

/** A heading as the anchor that GitHub makes of it. */
const anchorOf = (heading: string) =>
  heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, "")
    .replaceAll(" ", "-");

test("every link leads to a file, and to a heading of it", () => {
  const lost = pages.flatMap((page) =>
    linksOf(read(page))
      .filter((target) => {
        const [path = "", anchor] = target.split("#");
        const file = path === "" ? page : join(dirname(page), path);
        if (!existsSync(join(root, file))) return true;
        const headings = [...read(file).matchAll(/^#+ (.*)$/gm)].map(([, text]) => anchorOf(text!));
        return anchor !== undefined && !headings.includes(anchor);
      })
      .map((target) => `${page}: ${target}`),
  );
  expect(lost).toEqual([]);
});

test("every file that is named is there", () => {
  const path = /`((?:lib|native|proof|scripts|test|examples|recipes|deploy)\/[\w./-]+)`/g;
  const lost = pages.flatMap((page) => {
    const text = read(page);
    return [...text.matchAll(path)]
      .map(([, file]) => file!)
      .filter((file) => !/[A-Z]{4}/.test(file) && !text.includes(`ew file \`${file}\``))
      .filter((file) => !existsSync(join(root, file)))
      .map((file) => `${page}: ${file}`);
  });
  expect(lost).toEqual([]);
});
