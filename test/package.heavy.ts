// Installs the package as a user does: packed from a fresh copy of the project, installed in an
// empty project by a user who is not root, with and without install scripts; then trains there.
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, chownSync, copyFileSync, existsSync, mkdirSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { temporaryFolder } from "./support/folder.js";

const root = fileURLToPath(new URL("..", import.meta.url));
const minutes = 60_000;
const folder = temporaryFolder();
chmodSync(folder, 0o755);

const nobody = 65534;
const isRoot = process.getuid!() === 0;

/** The environment as a new user has it: nothing of npm's, of this project's or of a compiler cache. */
const bare = Object.fromEntries(
  Object.entries(process.env).filter(
    ([name]) => !/^(npm_|ONEHOUR_|VITEST|CMAKE_|CCACHE_)/.test(name),
  ),
);
const registry = execFileSync("npm", ["config", "get", "registry"], { encoding: "utf8" }).trim();

interface Outcome {
  status: number | null;
  stdout: string;
  stderr: string;
}

/** A command in `cwd`, as a user who is not root. */
function asUser(cwd: string, command: string, args: string[]): Outcome {
  return spawnSync(command, args, {
    cwd,
    encoding: "utf8",
    ...(isRoot ? { uid: nobody, gid: nobody } : {}),
    env: {
      ...bare,
      HOME: join(folder, "home"),
      npm_config_registry: registry,
      // Six architectures take minutes; npm run test:cuda compiles CUDA.
      ONEHOUR_CUDA: "OFF",
    },
  });
}

function makeUserFolder(name: string): string {
  const path = join(folder, name);
  mkdirSync(path);
  if (isRoot) chownSync(path, nobody, nobody);
  return path;
}

/** An empty project of the user. */
function makeProject(name: string): string {
  const project = makeUserFolder(name);
  expect(asUser(project, "npm", ["init", "--yes"]).status).toBe(0);
  return project;
}

const train = (project: string) =>
  asUser(project, "npx", [
    ...["onehour", "train", "fashion-mnist", "--workers", "2", "--batch", "16", "--steps", "3"],
    ...["--out", "runs/first"],
  ]);

function expectTrained(project: string): void {
  const run = train(project);
  expect(run.status, run.stderr).toBe(0);
  expect(existsSync(join(project, "runs/first/checkpoint.safetensors"))).toBe(true);
}

let tarball: string;

beforeAll(() => {
  makeUserFolder("home");
  const copy = join(folder, "copy");
  const options = ["ls-files", "--cached", "--others", "--exclude-standard", "-z"];
  const files = execFileSync("git", options, { cwd: root, encoding: "utf8" }).split("\0");
  for (const file of files.filter((name) => name !== "" && existsSync(join(root, name)))) {
    mkdirSync(dirname(join(copy, file)), { recursive: true });
    copyFileSync(join(root, file), join(copy, file));
  }
  const pack = spawnSync("npm", ["pack", "--pack-destination", folder], {
    cwd: copy,
    encoding: "utf8",
    env: bare,
  });
  expect(pack.status, pack.stderr).toBe(0);
  const tarballs = readdirSync(folder).filter((name) => name.endsWith(".tgz"));
  expect(tarballs).toEqual([expect.stringMatching(/^onehour-.*\.tgz$/)]);
  tarball = join(folder, tarballs[0]!);
}, 10 * minutes);

describe("npm install", () => {
  it("builds what trains, and shows its progress where npm shows output", {
    timeout: 30 * minutes,
  }, () => {
    const project = makeProject("with-scripts");
    const install = asUser(project, "npm", ["install", "--foreground-scripts", tarball]);
    expect(install.status, install.stderr).toBe(0);
    expect(install.stdout + install.stderr).toMatch(/building onehour: \d+ of \d+ files/);
    expect(install.stdout + install.stderr).toContain("onehour: built cpu and data");
    expectTrained(project);
  });

  it("--ignore-scripts leaves the build to npx onehour build", { timeout: 30 * minutes }, () => {
    const project = makeProject("without-scripts");
    const install = asUser(project, "npm", ["install", "--ignore-scripts", tarball]);
    expect(install.status, install.stderr).toBe(0);
    const early = train(project);
    expect(early.status).toBe(1);
    expect(early.stderr).toContain("npx onehour build");
    const build = asUser(project, "npx", ["onehour", "build"]);
    expect(build.status, build.stderr).toBe(0);
    expect(build.stderr).toMatch(/building onehour: \d+ of \d+ files/);
    expect(build.stdout).toBe("onehour: built cpu and data\n");
    expectTrained(project);
  });
});
