// Checks the package as a user's TypeScript project sees it.
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { linksOf } from "./docs/pages.js";
import { temporaryFolder } from "./support/folder.js";

const root = fileURLToPath(new URL("..", import.meta.url));
const folder = temporaryFolder();

test("its types stand by themselves, and what they name is a dependency", () => {
  mkdirSync(join(folder, "node_modules"));
  symlinkSync(root, join(folder, "node_modules/onehour"));
  writeFileSync(join(folder, "package.json"), '{ "type": "module" }');
  const compilerOptions = {
    module: "nodenext",
    target: "es2022",
    strict: true,
    skipLibCheck: false,
    noEmit: true,
    types: [],
  };
  const config = { compilerOptions, files: ["user.ts"] };
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(config));
  writeFileSync(
    join(folder, "user.ts"),
    `import { openDevice, train, type World } from "onehour";
using device = openDevice();
export const { steps } = await train({ dataset: "synthetic" });
export const share = (world: World) => world.broadcast(new Float32Array(device.properties.threads));
`,
  );
  const tsc = spawnSync(process.execPath, [join(root, "node_modules/typescript/bin/tsc")], {
    cwd: folder,
    encoding: "utf8",
  });
  expect(tsc.stdout).toBe("");
  expect(tsc.status).toBe(0);
  const { dependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  expect(Object.keys(dependencies)).toContain("@types/node");
});

/** Pages about the repository itself, and what others call it: a user's project has other files. */
const repository = ["docs/add-your-own.md", "docs/gpu-verification.md", "docs/internals.md"];
const aboutRepository = /\b(clone|checkout|repository)\b/;

test("its pages point only to files that it holds", () => {
  const list = execFileSync("npm", ["pack", "--dry-run", "--ignore-scripts", "--json"], {
    cwd: root,
    encoding: "utf8",
  });
  const [{ files }] = JSON.parse(list) as [{ files: { path: string }[] }];
  const held = new Set(files.map(({ path }) => path));
  const isHeld = (path: string) =>
    held.has(path) || files.some((file) => file.path.startsWith(`${path.replace(/\/$/, "")}/`));
  const pages = [...held].filter((path) => path.endsWith(".md"));
  expect(pages).toContain("docs/imagenet.md");

  const lacking = pages.flatMap((page) => {
    const text = readFileSync(join(root, page), "utf8");
    const links = linksOf(text)
      .map((target) => target.split("#")[0]!)
      .filter((path) => path !== "")
      .map((path) => normalize(join(dirname(page), path)));
    // What a sentence or a command names, but where it speaks of a clone.
    const named = repository.includes(page)
      ? []
      : text
          .split(/\n\n+/)
          .filter((paragraph) => !aboutRepository.test(paragraph))
          .flatMap(
            (paragraph) =>
              paragraph.match(
                /(?<![\w/.])(scripts|examples|native|recipes|test|lib|docs|deploy)\/[\w./-]*\w/g,
              ) ?? [],
          );
    return [...links, ...named].filter((path) => !isHeld(path)).map((path) => `${page}: ${path}`);
  });
  expect(lacking).toEqual([]);
});
