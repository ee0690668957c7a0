// scripts/verify-gpu without a GPU: its comparisons pass on devices that are right, notice one that is
// not, and leave whole results when they are cut off.
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
import type { PartResult } from "../../proof/results/part-result.js";
import { writeResults } from "../../proof/results/results.js";
import { temporaryFolder } from "../support/folder.js";
import { start, until } from "../support/process.js";

const script = fileURLToPath(new URL("../../scripts/verify-gpu", import.meta.url));
const folder = temporaryFolder();

interface Results {
  ok: boolean;
  done: boolean;
  ended: string;
  notProven: string[];
  parts: (PartResult & { limit: number })[];
}

function verify(name: string, ...options: string[]) {
  const out = join(folder, name);
  const run = spawnSync(script, ["--out", out, ...options], { encoding: "utf8" });
  const files = existsSync(out) ? readdirSync(out) : [];
  const json = files.find((file) => file.endsWith(".json"));
  const results = json && (JSON.parse(readFileSync(join(out, json), "utf8")) as Results);
  return { ...run, files, results: results as Results };
}

describe("a dry run", () => {
  it("compares every op and the ranks, and writes one results file and a summary", () => {
    const { status, stdout, stderr, files, results } = verify(
      "dry",
      ...["--device", "emulated", "--parts", "build,ops,ranks,patterns,sanitize"],
    );
    expect(status, stdout + stderr).toBe(0);
    expect(files.length).toBe(2);
    for (const file of files) expect(file).toMatch(/^emulated-\d{8}-\d{6}\.(json|txt)$/);
    expect(results).toMatchObject({ ok: true, done: true, ended: "" });
    expect(results.notProven.join()).toMatch(/dry run/);
    expect(results.parts.map(({ part }) => part)).toEqual([
      "build",
      "ops",
      "ranks",
      "patterns",
      "sanitize",
    ]);
    const [build, ops, ranks, patterns, sanitize] = results.parts;
    expect(build!.data.versions).toMatchObject({ oneDNN: expect.stringMatching(/^\d+\.\d+/) });
    expect(patterns!.checks).toBe(8);
    expect(ops!.checks).toBeGreaterThan(300);
    expect(ranks!.notes.join()).toMatch(
      /synchronised, 2 ranks: (\d+) of \1 findings good, recorded/,
    );
    expect([build!.skipped.length, sanitize!.skipped.length]).toEqual([1, 1]);
  });

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
  const passed = { part: "ranks", ok: true, complete: true, checks: 1, failures: [], seconds: 0 };
  const write = "require('node:fs').writeFileSync(JSON.parse(process.argv[2]).file";
  const endless = "process.on('SIGTERM', () => {}); setInterval(() => {}, 1000);";
  const stages = new URL("../../dist/proof/stages.js", import.meta.url);

  /** Starts a part `ops` and one that passes, in a process of their own. */
  function startParts(name: string, ops: { code: string; seconds: number }) {
    const [parts, out] = [join(folder, name), join(folder, name, "out")];
    mkdirSync(parts);
    writeFileSync(join(parts, "ops.js"), ops.code);
    writeFileSync(join(parts, "ranks.js"), `${write}, ${JSON.stringify(JSON.stringify(passed))});`);
    const table = [
      { name: "ops", stage: 2, seconds: ops.seconds, settings: {} },
      { name: "ranks", stage: 2, seconds: 50, settings: {} },
    ];
    const options = { device: "cpu", small: true, stage: 2, out };
    const call = [options, { table, folder: parts, slowness: 1 }].map((x) => JSON.stringify(x));
    const runner = join(parts, "runner.mjs");
    writeFileSync(
      runner,
      `import { runStages } from "${stages}";\nprocess.exitCode = await runStages(${call});\n`,
    );
    const run = start([process.execPath, runner], { stderr: "inherit" });
    const results = () => {
      const file = readdirSync(out).find((name) => name.endsWith("-stage2.json"))!;
      return JSON.parse(readFileSync(join(out, file), "utf8")) as Results;
    };
    return { run, results };
  }

  it("ends a part that runs over its time, names it and goes on", async () => {
    const { run, results } = startParts("overrun", { code: endless, seconds: 7 });
    expect(await run.ended).toMatchObject({ status: 1 });
    expect(run.stdout).toMatch(/ops was ended after its 7 s\n== ops: CUT OFF[\s\S]*== ranks: ok/);
    expect(results()).toMatchObject({ ok: false, done: true, ended: "" });
    expect(results().parts.map(({ ok }) => ok)).toEqual([undefined, true]);
  });

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
