// The page of benchmarks holds what stands in bench/results, and says so plainly where that is nothing.
import { execFileSync, spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { temporaryFolder } from "../../support/folder.js";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const script = join(root, "dist/proof/results/render.js");
const folder = temporaryFolder();

const page = join(folder, "benchmarks.md");
function render(results: string): string {
  copyFileSync(join(root, "docs/benchmarks.md"), page);
  execFileSync(process.execPath, [script, page, results]);
  return readFileSync(page, "utf8");
}

it("leaves the page as it is: it was rendered from bench/results", () => {
  expect(render(join(root, "bench/results"))).toBe(
    readFileSync(join(root, "docs/benchmarks.md"), "utf8"),
  );
});

it("says that nothing was measured where there are no results, or only of dry runs", () => {
  const dry = join(folder, "dry");
  mkdirSync(dry);
  writeFileSync(join(dry, "cpu.json"), JSON.stringify({ date: "1", device: "cpu", parts: [] }));
  for (const results of [join(folder, "none"), dry]) {
    expect(render(results)).toContain("-->\nNo GPU was available yet: nothing measured.\n<!--");
  }
});

it("renders a row a race, and one of a run without any", () => {
  const made = join(folder, "made");
  mkdirSync(made);
  const rates = (...values: number[]) => values.map((imagesPerSecond) => ({ imagesPerSecond }));
  const speed = {
    part: "speed",
    ok: true,
    data: {
      copyBytesPerSecond: 1,
      "batch 256 against Other": {
        ratio: 1.25,
        rounds: [rates(10, 8), rates(30, 9), rates(20, 7)],
      },
      "batch 64": { results: rates(5) },
    },
  };
  const whole = { date: "20010102-030405", device: "cuda", done: true, gpu: { name: "Made Up" } };
  const parts = [speed, { part: "ops", ok: false }];
  writeFileSync(join(made, "a.json"), JSON.stringify({ ...whole, parts }));
  const without = {
    date: "20000102-030405",
    device: "cuda",
    done: false,
    parts: [{ part: "ops", ok: true }],
  };
  writeFileSync(join(made, "b.json"), JSON.stringify(without));
  const rows = render(made)
    .split("\n")
    .filter((line) => /^\| (Made Up|unknown) /.test(line));
  expect(rows).toEqual([
    "| unknown | 20000102 | cut off after ops |  |  |  |  |  |  |",
    "| Made Up | 20010102 | ops | speed | 256 | 20 | Other | 8 | 1.25 |",
    "| Made Up | 20010102 | ops | speed | 64 | 5 |  |  |  |",
  ]);
});

it("refuses a page without markers", () => {
  writeFileSync(page, "# Benchmarks\n");
  const { status, stderr } = spawnSync(process.execPath, [script, page, folder], {
    encoding: "utf8",
  });
  expect(status).toBe(1);
  expect(stderr).toMatch(/lacks the markers/);
});
