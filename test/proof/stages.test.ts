// scripts/verify-gpu without a GPU refuses what it cannot run, and leaves whole results when it is cut off.
import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { parts, type Stage, stageSeconds } from "../../proof/parts.js";
import { writeResults } from "../../proof/results/results.js";
import { start, until } from "../support/process.js";
import { folder, script, startParts, verify } from "./verify.js";

describe("a dry run", () => {
  it("refuses stages, parts and devices that there are not", () => {
    expect(verify("stage", "--stage", "3").status).toBe(2);
    expect(verify("parts", "--parts", "ops,speeed").status).toBe(2);
    expect(verify("device", "--device", "tpu").status).toBe(2);
  });

  it("runs nothing after steps that fail", () => {
    const { status, results } = verify("smoke", "--device", "cuda", "--parts", "smoke,memory");
    if (results.ok) return; // there is a GPU
    expect(status).toBe(1);
    expect(results).toMatchObject({ ok: false, done: true });
    expect(results.parts.map(({ part }) => part)).toEqual(["smoke"]);
    expect(results.ended).toMatch(/^smoke failed/);
    expect(results.notProven.join()).toMatch(/NVLink.*InfiniBand/);
  });

  it("refuses to unpack a bundle where somebody else may have put something", () => {
    const [shared, theirs] = [join(folder, "shared"), join(folder, "theirs")];
    for (const path of [shared, theirs]) mkdirSync(path);
    symlinkSync(theirs, join(shared, `onehour-verify-${process.getuid!()}`));
    const env = { ...process.env, TMPDIR: shared };
    const { status, stderr } = spawnSync(script, ["--bundle", shared], { env, encoding: "utf8" });
    expect(stderr).toMatch(/onehour-verify-\d+ is not a folder of this user's/);
    expect(status).toBe(1);
    expect(readdirSync(theirs)).toEqual([]);
  });

  it("has parts whose times fit into their stage's", () => {
    const shareOf = (stage: Stage) =>
      parts.reduce((sum, part) => sum + (part.stage === stage ? part.seconds : 0), 0);
    // Unpacking takes some too.
    expect(shareOf(1)).toBeGreaterThan(200);
    expect(shareOf(1)).toBeLessThanOrEqual(240 - 8);
    expect(shareOf(2)).toBeGreaterThan(350);
    expect(shareOf(2)).toBeLessThanOrEqual(400 - 5);
    expect(stageSeconds).toEqual({ 1: 240, 2: 400 });
  });
});

describe("parts with other limits", () => {
  it("ends the part and what it started when it is interrupted, and writes results", async () => {
    const code = `
      const { spawn } = require("node:child_process");
      const other = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"]);
      console.log("started " + other.pid);
      setInterval(() => {}, 1000);`;
    const { run, results } = startParts("interrupted", { code, seconds: 300 });
    await until(() => /started \d+\n/.test(run.stdout));
    run.child.kill("SIGINT");
    expect(await run.ended).toMatchObject({ status: 130 });
    expect(run.stdout).toMatch(/FAILED in ops; SIGINT ended ops: nothing after it was run\n$/);
    expect(results()).toMatchObject({ ok: false, done: true });
    expect(results().parts.map(({ part }) => part)).toEqual(["ops"]);
    const other = `/proc/${/started (\d+)/.exec(run.stdout)![1]}`;
    await until(() => !existsSync(other));
  });
});

it("a part that is cut off leaves what it found, in the results too", async () => {
  const [work, out] = [join(folder, "cut-off"), join(folder, "cut-off-results")];
  mkdirSync(work);
  const file = join(work, "parity.json");
  const parts = [{ name: "parity", seconds: 60 }];
  const run = { device: "cpu", date: "now", stage: "", out, parts, done: false, ended: "" };
  // Plans as the CUDA backend leaves them, with what was tried.
  const plans = join(work, "plans");
  mkdirSync(plans);
  const trials = [
    { engine: "engine 38", fused: true, repeats: true, milliseconds: 0.25 },
    { engine: "several kernels", fused: false, repeats: true, milliseconds: 0.5 },
  ];
  const search = { name: "a graph", seconds: 1.5, trials };
  writeFileSync(join(plans, "0123.search"), `${JSON.stringify(search)}\n`);
  writeFileSync(join(plans, "0123.json"), '{"name":"a graph","plan":{"engine":\n38}}\n');
  writeFileSync(join(plans, "0123.lock"), "");
  writeFileSync(join(work, "run.json"), JSON.stringify({ ...run, plans }));
  const settings = { device: "cpu", file, small: true, seconds: 60 };
  const parity = fileURLToPath(new URL("../../dist/proof/parts/parity.js", import.meta.url));
  const { child, ended } = start([process.execPath, parity, JSON.stringify(settings)]);
  const written = ["json", "txt"].map((ending) => join(out, `cpu-now.${ending}`));
  await until(() => child.exitCode !== null || written.every((name) => existsSync(name)));
  child.kill("SIGKILL");
  expect(await ended).toMatchObject({ signal: "SIGKILL" });
  const cutOff = { part: "parity", ok: false, complete: false };
  expect(JSON.parse(readFileSync(file, "utf8"))).toMatchObject(cutOff);
  const results = JSON.parse(readFileSync(join(out, "cpu-now.json"), "utf8"));
  expect(results).toMatchObject({ ok: false, done: false, parts: [cutOff], searches: [search] });
  // As between parts.
  writeResults(work, true);
  expect(gunzipSync(readFileSync(join(out, "cpu-now.plans.jsonl.gz"))).toString()).toBe(
    '{"name":"a graph","plan":{"engine":38}}\n',
  );
  expect(readFileSync(join(out, "cpu-now.txt"), "utf8")).toMatch(
    /parity +CUT OFF[\s\S]*1 searches, 2 trials, 1.5 s\n.*fastest in 1 of 1 /,
  );
});
