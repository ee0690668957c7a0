// Makes a bundle and runs scripts/verify-gpu from it, without Node or a network.
import { execFile, execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { beforeAll, expect, it } from "vitest";
import { temporaryFolder } from "./support/folder.js";

const root = fileURLToPath(new URL("..", import.meta.url));
const folder = temporaryFolder();

const bundle = join(folder, "bundle");
const unpacked = join(folder, `onehour-verify-${process.getuid!()}`);
const minute = 60_000;

/** All that a dry run calls. */
const tools = "bash cat chmod dirname find id mkdir sh sha256sum tar timeout xz".split(" ");

interface Results {
  ok: boolean;
  done: boolean;
  node: string;
  notProven: string[];
  parts: { part: string; ok: boolean; checks: number; skipped: string[]; notes: string[] }[];
}

/** Runs a copy of the script in an empty folder, where the only Node is the bundle's. */
async function verify(script: string, name: string, ...options: string[]): Promise<Results> {
  const [cwd, out] = [join(folder, `${name}-empty`), join(folder, name)];
  mkdirSync(cwd);
  const env = { PATH: join(folder, "bin"), TMPDIR: folder };
  await promisify(execFile)(script, [...options, "--out", out], { cwd, env, maxBuffer: 2 ** 26 });
  expect(readdirSync(cwd)).toEqual([]);
  const json = readdirSync(out).find((file) => file.endsWith(".json"))!;
  return JSON.parse(readFileSync(join(out, json), "utf8"));
}

beforeAll(async () => {
  await promisify(execFile)(join(root, "scripts/bundle"), [bundle]);
  const bin = join(folder, "bin");
  mkdirSync(bin);
  for (const tool of tools) {
    const path = execFileSync("sh", ["-c", `command -v ${tool}`], { encoding: "utf8" }).trim();
    symlinkSync(path, join(bin, tool));
  }
}, 20 * minute);

it("is small enough to carry, together with the tracked files", () => {
  const tracked = execFileSync("git", ["ls-files", "-z"], { cwd: root, encoding: "utf8" })
    .split("\0")
    .map((file) => join(root, file))
    .filter((file) => existsSync(file) && statSync(file).isFile());
  const files = [...tracked, ...readdirSync(bundle).map((file) => join(bundle, file))];
  const bytes = files.reduce((sum, file) => sum + statSync(file).size, 0);
  expect(bytes).toBeLessThan(60e6);
});

it("runs the first stage with its own Node and libraries", { timeout: 40 * minute }, async () => {
  const script = join(bundle, "verify-gpu");
  const results = await verify(script, "first", "--stage", "1", "--device", "emulated");
  expect(results).toMatchObject({ ok: true, done: true, node: process.version });
  expect(results.parts.map(({ part }) => part)).toEqual(["build", "smoke", "eager"]);
  expect(readdirSync(join(unpacked, "lib")).join(" ")).toMatch(/libdnnl/);
});

it("runs the second stage where it was unpacked", { timeout: 60 * minute }, async () => {
  const script = join(unpacked, "scripts/verify-gpu");
  const results = await verify(script, "second", "--stage", "2", "--device", "emulated");
  expect(results).toMatchObject({ ok: true, done: true, node: process.version });
  const names = "build ops parity ranks repeat speed patterns memory sanitize";
  expect(results.parts.map(({ part }) => part)).toEqual(names.split(" "));
  for (const { part, checks, skipped } of results.parts)
    expect(checks + skipped.length, part).toBeGreaterThan(0);
  expect(results.notProven).toEqual([expect.stringMatching(/dry run/)]);
  // Those cases whose fusions are the same on a GPU and on the emulated device.
  const { notes } = results.parts.find(({ part }) => part === "ops")!;
  expect(notes.join()).toMatch(/ [1-9]\d+ of them with the bundle's data/);
});

it("holds every part, and PyTorch's side of the race", () => {
  const parts = (at: string) => readdirSync(join(at, "dist/proof"));
  expect(parts(unpacked)).toEqual(parts(root));
  expect(existsSync(join(unpacked, "scripts/throughput-pytorch.py"))).toBe(true);
});

it("holds what the build is made from", () => {
  const options = ["-S", unpacked, "-B", join(folder, "cmake"), "-DONEHOUR_CPU=OFF"];
  const cmake = spawnSync("cmake", [...options, "-DONEHOUR_CUDA=OFF"], { encoding: "utf8" });
  expect(cmake.status, cmake.stderr).toBe(0);
  for (const folder of ["native/cuda", "proof/patterns"]) {
    const sources = (at: string) => readdirSync(join(at, folder), { recursive: true }).sort();
    expect(sources(unpacked)).toEqual(sources(root));
  }
});
