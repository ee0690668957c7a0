// A bundle holds all that scripts/verify-gpu needs where there is neither Node nor a network.
import { execFileSync, spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";

const root = fileURLToPath(new URL("..", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "onehour-bundle-test-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const bundle = join(folder, "bundle");
const out = join(folder, "out");
const unpacked = join(folder, `onehour-verify-${process.getuid!()}`);
const minute = 60_000;

/** All that a dry run calls. */
const tools = "bash cat chmod date dirname env find id mkdir sed sh sha256sum tar timeout xz".split(
  " ",
);

let run: { status: number | null; stdout: string; stderr: string };

beforeAll(() => {
  execFileSync(join(root, "scripts/bundle"), [bundle], { stdio: "ignore" });
  const bin = join(folder, "bin");
  mkdirSync(bin);
  for (const tool of tools) {
    const path = execFileSync("sh", ["-c", `command -v ${tool}`], { encoding: "utf8" }).trim();
    symlinkSync(path, join(bin, tool));
  }
  run = spawnSync(
    join(bundle, "verify-gpu"),
    ["--bundle", bundle, "--device", "cpu", "--parts", "build,ops", "--out", out],
    { env: { PATH: bin, TMPDIR: folder }, encoding: "utf8" },
  );
}, 3 * minute);

it("is small enough to carry", () => {
  const sizes = readdirSync(bundle).map((file) => statSync(join(bundle, file)).size);
  expect(sizes.reduce((sum, size) => sum + size)).toBeLessThan(55e6);
});

it("runs a dry run with its own Node and libraries", () => {
  expect(run.status, run.stdout + run.stderr).toBe(0);
  const json = readdirSync(out).find((file) => file.endsWith(".json"))!;
  const results = JSON.parse(readFileSync(join(out, json), "utf8"));
  expect(results).toMatchObject({ ok: true, done: true, node: process.version });
  expect(readdirSync(join(unpacked, "lib")).join(" ")).toMatch(/libdnnl/);
});

it("holds every part, and PyTorch's side of the race", () => {
  const parts = (at: string) => readdirSync(join(at, "dist/verify"));
  expect(parts(unpacked)).toEqual(parts(root));
  expect(existsSync(join(unpacked, "scripts/throughput-pytorch.py"))).toBe(true);
});

it("holds what the build is made from", { timeout: minute }, () => {
  const options = ["-S", unpacked, "-B", join(folder, "cmake"), "-DONEHOUR_CPU=OFF"];
  const cmake = spawnSync("cmake", [...options, "-DONEHOUR_CUDA=OFF"], { encoding: "utf8" });
  expect(cmake.status, cmake.stderr).toBe(0);
  const sources = (at: string) => readdirSync(join(at, "native/cuda"));
  expect(sources(unpacked)).toEqual(sources(root));
});
