// scripts/verify-gpu without a GPU: its comparisons pass on devices that are right, notice one that is
// not, and leave whole results behind when they are cut off.
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import { stepSettings } from "../../lib/bench/settings.js";
import type { Device } from "../../lib/device/device.js";
import { elements } from "../../lib/graph/graph.js";
import { operandBytes } from "../../lib/graph/parse.js";
import { book } from "../../lib/ops/book.js";
import { formsOf, shapesOf } from "../../lib/verify/convolutions.js";
import { computed, dataName, recorded, resultsOf } from "../../lib/verify/expected.js";
import { describeState, GpuWatch } from "../../lib/verify/nvidia-smi.js";
import type { OpCase } from "../../lib/verify/op-case.js";
import { opCases } from "../../lib/verify/op-cases.js";
import { checkOps, type OpFinding } from "../../lib/verify/op-check.js";
import type { PartResult } from "../../lib/verify/part-result.js";
import { place, strayWrite } from "../../lib/verify/placement.js";
import { device } from "../support/device.js";

const script = fileURLToPath(new URL("../../scripts/verify-gpu", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "onehour-verify-test-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

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

  it("ends a part that runs over its time, names it and goes on", () => {
    const copy = join(folder, "copy");
    for (const path of ["scripts", "dist/verify"]) mkdirSync(join(copy, path), { recursive: true });
    // The script with other budgets, and parts that are none.
    const text = readFileSync(script, "utf8");
    const short = text.replace(/^ {2}2 ops \d+/m, "  2 ops 7").replace("slowness=10", "slowness=1");
    expect(short).toMatch(/ops 7[\s\S]*slowness=1 /);
    writeFileSync(join(copy, "scripts/verify-gpu"), short, { mode: 0o755 });
    const part = (name: string, code: string) =>
      writeFileSync(join(copy, "dist/verify", name), code);
    part("ops.js", 'process.on("SIGTERM", () => {}); setInterval(() => {}, 1000);');
    const passed = { part: "ranks", ok: true, complete: true, checks: 1, failures: [], seconds: 0 };
    const write = "require('node:fs').writeFileSync(JSON.parse(process.argv[2]).file";
    part("ranks.js", `${write}, ${JSON.stringify(JSON.stringify(passed))});`);
    const collect = fileURLToPath(new URL("../../dist/verify/collect.js", import.meta.url));
    symlinkSync(collect, join(copy, "dist/verify/collect.js"));
    const out = join(copy, "out");
    const { status, stdout } = spawnSync(
      join(copy, "scripts/verify-gpu"),
      ["--device", "cpu", "--stage", "2", "--parts", "ops,ranks", "--out", out],
      { encoding: "utf8" },
    );
    expect(status, stdout).toBe(1);
    expect(stdout).toMatch(/ops was ended after its 7 s\n== ops: CUT OFF[\s\S]*== ranks: ok/);
    const file = readdirSync(out).find((name) => name.endsWith("-stage2.json"))!;
    const results = JSON.parse(readFileSync(join(out, file), "utf8")) as Results;
    expect(results).toMatchObject({ ok: false, done: true, ended: "" });
    expect(results.parts.map(({ ok }) => ok)).toEqual([undefined, true]);
  });

  it("has parts whose times fit into their stage's", () => {
    const shares = { 1: 0, 2: 0 };
    const text = readFileSync(script, "utf8");
    for (const [, stage, seconds] of text.matchAll(/^ {2}([12]) [a-z]+ (\d+) +# /gm))
      shares[stage as "1" | "2"] += Number(seconds);
    // Unpacking takes some too.
    expect(shares[1]).toBeGreaterThan(200);
    expect(shares[1]).toBeLessThanOrEqual(240 - 8);
    expect(shares[2]).toBeGreaterThan(350);
    expect(shares[2]).toBeLessThanOrEqual(400 - 5);
    expect(text).toMatch(/limits=\(\[1\]=240 \[2\]=400\)/);
  });

  it("asks nvidia-smi of the GPU that CUDA sees first", () => {
    const bin = join(folder, "bin");
    mkdirSync(bin);
    // Two GPUs, the second with MIG instances; else its last argument for a name, and four values.
    const echo = `#!/bin/sh
if [ "$1" = -L ]; then
  echo 'GPU 0: NVIDIA H100 (UUID: GPU-0a)'
  echo 'GPU 1: NVIDIA H100 (UUID: GPU-1b)'
  echo '  MIG 3g.40gb     Device  0: (UUID: MIG-77aa)'
  echo '  MIG 3g.40gb     Device  1: (UUID: MIG-88bb)'
  exit
fi
for last; do :; done
echo "$last, 1, 2, 3, 4"
`;
    writeFileSync(join(bin, "nvidia-smi"), echo, { mode: 0o755 });
    const collect = fileURLToPath(new URL("../../dist/verify/collect.js", import.meta.url));
    const ended = { parts: [], done: true, ended: "" };
    const nameOf = (visible: string | undefined) => {
      const out = mkdtempSync(join(folder, "gpu-"));
      const run = {
        device: "cuda",
        date: "now",
        stage: "1",
        out,
        parts: [],
        done: true,
        ended: "",
      };
      writeFileSync(join(out, "run.json"), JSON.stringify({ ...run, ...ended }));
      execFileSync(process.execPath, [collect, out], {
        env: { PATH: bin, ...(visible === undefined ? {} : { CUDA_VISIBLE_DEVICES: visible }) },
        stdio: "ignore",
      });
      const json = readdirSync(out).find((file) => file.endsWith("-now-stage1.json"))!;
      return JSON.parse(readFileSync(join(out, json), "utf8")).gpu.name;
    };
    expect([undefined, "3,1", "GPU-5c8a"].map(nameOf)).toEqual([
      "--id=0",
      "--id=3",
      "--id=GPU-5c8a",
    ]);
    expect(["MIG-88bb", "MIG-GPU-5c8a/2/0"].map(nameOf)).toEqual(["--id=GPU-1b", "--id=GPU-5c8a"]);
  });

  it("fails, with results, where the device cannot be opened", () => {
    const { status, results } = verify("none", "--device", "cuda", "--parts", "memory");
    if (results.ok) return; // there is a GPU
    expect(status).toBe(1);
    expect(results.parts[0]).toMatchObject({ ok: false, complete: true });
  });
});

it("leaves out compute-sanitizer where it does not support the device", () => {
  const bin = join(folder, "sanitizer");
  mkdirSync(bin);
  const says = "========= Error: Target application could not start. Device not supported\n";
  const script = `#!/bin/sh\nprintf '${says}'\nexit 1\n`;
  writeFileSync(join(bin, "compute-sanitizer"), script, { mode: 0o755 });
  const file = join(bin, "sanitize.json");
  const settings = { device: "cuda", file, small: true, seconds: 60 };
  const sanitize = fileURLToPath(new URL("../../dist/verify/sanitize.js", import.meta.url));
  const env = { PATH: `${bin}:${process.env.PATH}` };
  execFileSync(process.execPath, [sanitize, JSON.stringify(settings)], { env, stdio: "ignore" });
  const result = JSON.parse(readFileSync(file, "utf8")) as PartResult;
  expect(result).toMatchObject({ ok: true, complete: true, failures: [] });
  expect(result.skipped).toEqual([expect.stringMatching(/Device not supported$/)]);
});

describe("what nvidia-smi tells while something runs", () => {
  const bin = join(folder, "smi");
  const { PATH } = process.env;
  afterAll(() => {
    process.env.PATH = PATH;
  });

  it("is read again and again, and what the driver does not know is absent", async () => {
    mkdirSync(bin);
    // Knows clocks, power and the older name of throttle reasons; no temperature.
    const script = [
      "#!/bin/sh",
      'case "$1" in',
      "*temperature* | *event_reasons*) exit 2 ;;",
      '*clocks.sm,*) line="1980, 2619, 412.5, 0x0000000000000024" ;;',
      "*) line=0 ;;",
      "esac",
      'while echo "$line"; do',
      '  case "$*" in *--loop-ms*) sleep 0.05 ;; *) exit ;; esac',
      "done",
    ];
    writeFileSync(join(bin, "nvidia-smi"), `${script.join("\n")}\n`, { mode: 0o755 });
    process.env.PATH = `${bin}:${PATH}`;
    using watch = new GpuWatch();
    const start = performance.now();
    while (watch.since(start).samples < 2) await sleep(20);
    expect(watch.since(start)).toMatchObject({
      smMhz: { least: 1980, median: 1980, most: 1980 },
      watts: { median: 412.5 },
      celsius: "absent",
      throttle: ["power cap", "software thermal slowdown"],
    });
    expect(describeState(watch.since(start))).toBe(
      "1980 MHz, 413 W, power cap and software thermal slowdown",
    );
  });

  it("is all absent without nvidia-smi", () => {
    process.env.PATH = "";
    using watch = new GpuWatch();
    const state = watch.since(0);
    expect(state).toMatchObject({ samples: 0, smMhz: "absent", throttle: "absent" });
    expect(describeState(state)).toBe("clock and power absent");
  });
});

/** A device whose results `spoil` changes, given the program and the arena after it ran. */
function spoiled(spoil: (text: string, arena: Uint8Array) => void): Device {
  return {
    properties: device.properties,
    operations: device.operations,
    async load(programs: { name: string; text: string }[]) {
      const executor = await device.load(programs);
      let last = "";
      return {
        write: executor.write.bind(executor),
        submit(name: string, slot: number) {
          last = programs.find((program) => program.name === name)!.text;
          return executor.submit(name, slot);
        },
        async read(arena: string, offset: number, length: number) {
          const bytes = Uint8Array.from(await executor.read(arena, offset, length));
          spoil(last, bytes);
          return bytes;
        },
        [Symbol.dispose]: () => executor.dispose(),
      };
    },
  } as unknown as Device;
}

/** The small case `name`, as it is before its first instruction. */
function caseOf(name: string): OpCase {
  const { operations, properties } = device;
  const { channelMultiple } = properties;
  const options = { operations, channelMultiple, small: true, tf32: false };
  for (const opCase of opCases(options)) if (opCase.name === name) return opCase;
  throw new Error(`there is no case ${name}`);
}

/** Findings of the case `name` on a device. */
async function findings(name: string, wrong: Device): Promise<OpFinding[]> {
  const found: OpFinding[] = [];
  const opCase = caseOf(name);
  const onFinding = (finding: OpFinding) => found.push(finding);
  using expected = await computed(opCase, device);
  await checkOps(opCase, { expected, device: wrong, onFinding });
  return found;
}

describe("the comparison of ops", () => {
  const outputOf = (text: string, op: string) =>
    new RegExp(` ${op} .*-> \\w+=state\\+(\\d+):(\\w+)\\[([\\d,]+)\\]`).exec(text);

  it("notices one wrong element in f32", async () => {
    const wrong = spoiled((text, arena) => {
      const match = outputOf(text, "conv2d");
      if (!match) return;
      const view = new DataView(arena.buffer);
      const at = Number(match[1]) + 4 * 11;
      // Sums of 144 products of numbers around 1 are around 12.
      view.setFloat32(at, view.getFloat32(at, true) + 12 * 2e-3, true);
    });
    const bad = (await findings("conv: 3x3 sixteen channels, f32", wrong)).filter(
      ({ problem }) => problem,
    );
    expect(bad.map(({ op }) => op)).toEqual(["conv2d"]);
    expect(bad[0]!.problem).toMatch(/^element 11 is/);
  });

  it("notices an element of bf16 that was not written, and one byte behind the output", async () => {
    const unwritten = spoiled((text, arena) => {
      const match = outputOf(text, "relu");
      if (match) arena.fill(0xff, Number(match[1]) + 2, Number(match[1]) + 4);
    });
    const behind = spoiled((text, arena) => {
      const match = outputOf(text, "relu");
      if (!match) return;
      const shape = match[3]!.split(",").map(Number);
      expect(elements(shape)).toBe(1155);
      arena[Number(match[1]) + operandBytes({ shape, dtype: "bf16" })] = 0;
    });
    const problems = async (wrong: Device) =>
      (await findings("odd elements, bf16", wrong)).map(({ problem }) => problem ?? "");
    expect((await problems(unwritten)).some((text) => /element 1 is NaN/.test(text))).toBe(true);
    expect((await problems(behind)).some((text) => /byte 0 after the last/.test(text))).toBe(true);
  });

  it("notices an input that was overwritten", () => {
    const operand = (name: string, offset: number) =>
      ({ name, arena: "temp", offset, dtype: "f32", shape: [4] }) as const;
    const placement = place("p", {
      stream: "compute",
      op: "relu",
      attributes: {},
      inputs: [{ ...operand("x", 0), shape: [4] }],
      outputs: [{ ...operand("y", 64), shape: [4] }],
      comment: "",
    });
    const before = new Uint8Array(placement.bytes);
    const after = before.slice();
    after[placement.places[0]!.offset] = 1;
    expect(strayWrite(placement, before, after)).toBe("its input x was written");
    after.set(before);
    after[placement.places[1]!.offset] = 1;
    expect(strayWrite(placement, before, after)).toBe(undefined);
  });
});

it("times the 23 convolutions of ResNet-50 in the forms that there are kernels for", () => {
  const settings = stepSettings({
    ...{ model: "resnet50", batch: 4, precision: "bf16" },
    ...{ device: "cuda", threads: 1 },
  } as const);
  const shapes = shapesOf(
    { operations: new Set(book.keys()), properties: { channelMultiple: 4 } },
    settings,
  );
  expect(shapes.length).toBe(23);
  expect(shapes.reduce((sum, { count }) => sum + count, 0)).toBe(53);
  const forms = (label: string) =>
    shapes
      .find((shape) => shape.label === label)!
      .lines.flatMap(formsOf)
      .map(({ op }) => op)
      .sort();
  const common = ["batch-norm-statistics", "conv2d", "conv2d-backward-data"];
  const gradients = ["conv2d-backward-weight", "conv2d-statistics"];
  expect(forms("3×3, 56×56×128 to 28×28×128")).toEqual([...common, ...gradients]);
  expect(forms("1×1, 56×56×64 to 56×56×256")).toEqual([
    ...common,
    ...gradients,
    "linear-backward-data",
  ]);
});

describe("results that a bundle carries", () => {
  const name = "BN + add + ReLU, f32";
  const data = join(folder, "op-data");

  it("are what the CPU computes at hand", async () => {
    expect(recorded(caseOf(name), data)).toBe(undefined);
    mkdirSync(data);
    const results = await resultsOf(caseOf(name), device);
    writeFileSync(join(data, dataName(caseOf(name))), results);
    const again = caseOf(name);
    using expected = recorded(again, data)!;
    const found: OpFinding[] = [];
    await checkOps(again, { expected, device, onFinding: (finding) => found.push(finding) });
    expect(found).toEqual(await findings(name, device));
    expect(found.length).toBeGreaterThan(10);
    expect(found.filter(({ problem }) => problem)).toEqual([]);
  });

  it("are compared with: a wrong one is noticed", async () => {
    const file = join(data, dataName(caseOf(name)));
    const results = readFileSync(file);
    results.writeFloatLE(results.readFloatLE(0) + 1, 0);
    writeFileSync(file, results);
    const again = caseOf(name);
    using expected = recorded(again, data)!;
    const found: OpFinding[] = [];
    await checkOps(again, { expected, device, onFinding: (finding) => found.push(finding) });
    expect(found.find(({ problem }) => problem)!.problem).toMatch(/^element 0 is/);
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
    { engine: "engine 38", fused: true, milliseconds: 0.25 },
    { engine: "several kernels", fused: false, milliseconds: 0.5 },
  ];
  const search = { name: "a graph", seconds: 1.5, trials };
  writeFileSync(join(plans, "0123.search"), `${JSON.stringify(search)}\n`);
  writeFileSync(join(plans, "0123.json"), '{"name":"a graph","plan":{"engine":\n38}}\n');
  writeFileSync(join(plans, "0123.lock"), "");
  writeFileSync(join(work, "run.json"), JSON.stringify({ ...run, plans }));
  const settings = { device: "cpu", file, small: true, seconds: 60 };
  const parity = fileURLToPath(new URL("../../dist/verify/parity.js", import.meta.url));
  const started = spawn(process.execPath, [parity, JSON.stringify(settings)], { stdio: "ignore" });
  const cut = once(started, "exit");
  const written = ["json", "txt", "plans.jsonl"].map((ending) => join(out, `cpu-now.${ending}`));
  while (started.exitCode === null && !written.every((name) => existsSync(name))) await sleep(10);
  started.kill("SIGKILL");
  expect(await cut).toEqual([null, "SIGKILL"]);
  const cutOff = { part: "parity", ok: false, complete: false };
  expect(JSON.parse(readFileSync(file, "utf8"))).toMatchObject(cutOff);
  const results = JSON.parse(readFileSync(join(out, "cpu-now.json"), "utf8"));
  expect(results).toMatchObject({ ok: false, done: false, parts: [cutOff], searches: [search] });
  expect(readFileSync(join(out, "cpu-now.plans.jsonl"), "utf8")).toBe(
    '{"name":"a graph","plan":{"engine":38}}\n',
  );
  expect(readFileSync(join(out, "cpu-now.txt"), "utf8")).toMatch(
    /parity +CUT OFF[\s\S]*1 searches, 2 trials, 1.5 s\n.*fastest in 1 of 1 /,
  );
});
