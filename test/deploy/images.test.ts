// Checks the Dockerfile against the files of the repository and what a build needs.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { read, root } from "../docs/pages.js";

const docker = read("deploy/Dockerfile").replaceAll("\\\n", " ");
/** The instructions of each stage, by its name. */
const stages = new Map(
  docker
    .split(/^FROM /m)
    .slice(1)
    .map((text) => [/ AS (\S+)/.exec(text)![1]!, text]),
);
const packages = (stage: string) =>
  /--no-install-recommends(.*?)(?:&&|$)/m.exec(stages.get(stage)!)![1]!.trim().split(/\s+/);

test("the stage for CPUs builds with the packages that scripts/setup installs", () => {
  const needed = [...read("scripts/setup").matchAll(/\|\| packages\+=\(([\w+.-]+)\)/g)].map(
    ([, name]) => name!,
  );
  const built = [...packages("cpu-build"), ...packages("cpu")];
  expect(needed.length).toBeGreaterThan(4);
  expect(built).toEqual(expect.arrayContaining(needed));
});

test.each(["cpu", "cuda"])("%s runs as a user, with an init as process 1", (name) => {
  const stage = stages.get(name)!;
  expect(packages(name)).toContain("tini");
  expect(stage).toContain('\nENTRYPOINT ["tini", "--", "onehour"]\n');
  expect(stage.indexOf("\nUSER 1000:1000\n")).toBeGreaterThan(stage.lastIndexOf("\nRUN "));
});

test("nothing that the package holds or is made from is left out of the build's context", () => {
  const ignored = read(".dockerignore")
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"));
  const { files } = JSON.parse(read("package.json")) as { files: string[] };
  const needed = [...files, "lib", "proof", "scripts/setup", "tsconfig.json", "package-lock.json"];
  const lost = needed
    .filter((path) => path !== "dist" && !path.startsWith("!"))
    .filter((path) => ignored.some((entry) => `${path}/`.startsWith(`${entry}/`)));
  expect(lost).toEqual([]);
  for (const [, sources] of docker.matchAll(/^COPY ((?!--).*) \S+$/gm))
    for (const source of sources!.split(" ")) expect(existsSync(join(root, source))).toBe(true);
});
