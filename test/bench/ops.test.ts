// Compares the bytes and operations of `onehour bench ops` to counts by hand, and checks that each
// line has its own time.
import { describe, expect, test } from "vitest";
import { type LineResult, measureOps, type OpsResult, ops, opsTable } from "../../lib/bench/ops.js";
import { stepSettings } from "../../lib/bench/settings.js";
import { compileStep } from "../../lib/bench/step.js";
import { workOf } from "../../lib/bench/traffic.js";
import type { Device, Executor } from "../../lib/device/device.js";
import { loadAddon } from "../../lib/device/native.js";
import { parse } from "../../lib/graph/parse.js";
import { onehour } from "../cli/command.js";

const tiny = { model: "resnet8", batch: 2, precision: "fp32", device: "cpu", threads: 1 } as const;
const operations = new Set(Object.keys(loadAddon("cpu").operations()));

/** The step of `tiny`, as text and as lines. */
function tinyStep() {
  const compiled = compileStep(
    stepSettings(tiny),
    { operations, properties: { channelMultiple: 1 } },
    1,
  );
  const { text } = compiled.programs.find(({ name }) => name === "last")!;
  return { compiled, text, lines: text.split("\n") };
}

/** Kernels in the text: lines with operands, counted from 1. */
function kernelsOf(lines: readonly string[]) {
  return lines.flatMap((text, i) => {
    if (!text.includes(" | ")) return [];
    const [, op, label] = /^\w+ (\S+).* # (.*)$/.exec(text)!;
    return [{ line: i + 1, op, label }];
  });
}

const places = (lines: readonly LineResult[]) =>
  lines.map(({ line, op, label }) => ({ line, op, label }));

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

/** The only line with this op and label. */
function lineOf({ lines }: OpsResult, op: string, label: string): LineResult {
  const found = lines.filter((line) => line.op === op && line.label === label);
  expect(found).toHaveLength(1);
  return found[0]!;
}

describe("the work of a line", () => {
  const work = (line: string) =>
    workOf(parse(`onehour-program 1\nname t\n${line}\n`).instructions[0]!);

  test("a convolution reads images and filters, writes images", () => {
    const conv =
      "compute conv2d stride=2,2 padding=1,1 | x=temp+0:bf16[2,6,6,4] w=weight+0:bf16[8,3,3,4] " +
      "-> y=temp+640:bf16[2,3,3,8] # conv";
    expect(work(conv)).toEqual({
      // x 2·6·6·4 = 288, w 8·3·3·4 = 288, y 2·3·3·8 = 144, of 2 bytes: 720·2
      bytes: 1440,
      // every y sums 3·3·4 = 36 products: 2·144·36
      operations: 10368,
    });
  });

  test("batch norm counts mixed element types, and multiplies no matrices", () => {
    const apply =
      "compute batch-norm-apply relu=1 | x=temp+0:bf16[2,3,3,8] mean=temp+512:f32[8] " +
      "inverse-std=temp+544:f32[8] gamma=param+0:f32[8] beta=param+32:f32[8] " +
      "residual=temp+1024:bf16[2,3,3,8] -> y=temp+2048:bf16[2,3,3,8] # bn";
    // x, residual, y of 144 in 2 bytes: 3·288 = 864; four vectors of 8 in 4 bytes: 4·32 = 128
    expect(work(apply)).toEqual({ bytes: 992, operations: 0 });
  });

  test("sgd counts what it updates in place twice: read and written", () => {
    const sgd =
      "compute sgd form=gradient nesterov=1 momentum=0.9 segments=100:0 zero=0 | " +
      "w=param+0:f32[100] g=grad+0:f32[100] v=state+0:f32[100] schedule=input+0:f32[2] " +
      "-> w=param+0:f32[100] v=state+0:f32[100] finite=output+0:f32[1] # bucket 0";
    // w, g, v in and w, v out: 5·400 = 2000; schedule 2·4 = 8, finite 4
    expect(work(sgd)).toEqual({ bytes: 2012, operations: 0 });
  });

  test("gradients of a strided convolution multiply as often as it does", () => {
    const backward = (op: string, operands: string) =>
      work(`compute conv2d-backward-${op} stride=2,2 padding=1,1 | ${operands} # conv`).operations;
    const [x, w, dy] = ["temp+0:f32[2,6,6,4]", "param+0:f32[8,3,3,4]", "temp+2048:f32[2,3,3,8]"];
    // each of the 144 dy times 36 weights: 2·144·36
    expect(backward("data", `dy=${dy} w=${w} -> dx=${x}`)).toBe(10368);
    expect(backward("weight", `x=${x} dy=${dy} -> dw=${w}`)).toBe(10368);
  });
});

test("ResNet-8 with two Fashion-MNIST images, counted without running it", async () => {
  const result = await ops({ ...tiny, repeats: 0 });
  expect(places(result.lines)).toEqual(kernelsOf(tinyStep().lines));
  expect(result.lines.filter((line) => "milliseconds" in line)).toEqual([]);

  // f32: x 2·28·28·1·4 = 6272, w 16·3·3·1·4 = 576, y 2·28·28·16·4 = 100 352
  // 2·28·28·16 = 25 088 sums of 3·3·1 products: 2·25 088·9
  expect(lineOf(result, "conv2d", "conv1")).toMatchObject({ bytes: 107_200, operations: 451_584 });

  // x and y 2·100 352 = 200 704; mean, inverse-std, gamma, beta 4·16·4 = 256; then a residual, and a
  // mask with a byte for four elements: 25 088 / 4 = 6272
  expect(lineOf(result, "batch-norm-apply", "bn1")).toMatchObject({ bytes: 200_960 });
  expect(lineOf(result, "batch-norm-apply", "layer1.0.bn2")).toMatchObject({ bytes: 307_584 });

  // Elements: 3×3 filters 1·16 = 16, 16·16 twice = 512, 16·32 + 32·32 = 1536, 32·64 + 64·64 = 6144,
  // times 9: 73 872; 1×1 filters 16·32 + 32·64 = 2560; the classifier 64·10 + 10 = 650; gamma and
  // beta of three norms each of 16, 32 and 64 channels: 2·3·112 = 672. In all 77 754. A tensor
  // starts at a multiple of 32 elements: 16 more for conv1's 144, 22 for the bias, 16 for each of
  // the six vectors of 16 channels: 134 more, so 77 888.
  // w, g, v in and w, v out: 5·77 888·4 = 1 557 760; schedule 8, finite 4
  expect(lineOf(result, "sgd", "bucket 0")).toMatchObject({ bytes: 1_557_772, operations: 0 });

  // 2 images, 64 features, 10 classes: 2·2·64·10 forward, and as many for each gradient
  for (const op of ["linear", "linear-backward-data", "linear-backward-weight"])
    expect(lineOf(result, op, "fc").operations).toBe(2560);
});

// By the emulated GPU's table, whose libraries are called as often as NVIDIA's.
test("a step of ResNet-50 on a GPU starts at most 420 kernels", () => {
  const launches = loadAddon("emulated").launches();
  const { programs } = compileStep(
    stepSettings({ model: "resnet50", batch: 256, precision: "bf16", device: "cuda", threads: 1 }),
    { operations: new Set(Object.keys(launches)), properties: { channelMultiple: 4 } },
    1,
  );
  const { instructions } = parse(programs.find(({ name }) => name === "last")!.text);
  const kernels = instructions.flatMap(({ op }) => launches[op] ?? []);
  expect(sum(kernels)).toBeLessThanOrEqual(420);
});

describe("timings", () => {
  test("on the CPU each kernel has its own, and they add up", async () => {
    const result = await ops({ ...tiny, repeats: 2 });
    expect(result).toMatchObject({ settings: stepSettings(tiny), repeats: 2 });
    expect(places(result.lines)).toEqual(kernelsOf(tinyStep().lines));
    expect(result.lines.map(({ milliseconds }) => typeof milliseconds)).toEqual(
      result.lines.map(() => "number"),
    );
    expect(result.ops.map(({ op }) => op).sort()).toEqual(
      [...new Set(result.lines.map(({ op }) => op))].sort(),
    );
    for (const { op, lines, bytes, operations, milliseconds } of result.ops) {
      const own = result.lines.filter((line) => line.op === op);
      expect(lines).toBe(own.length);
      expect(bytes).toBe(sum(own.map((line) => line.bytes)));
      expect(operations).toBe(sum(own.map((line) => line.operations)));
      expect(milliseconds).toBeCloseTo(sum(own.map((line) => line.milliseconds!)), 9);
    }
  });

  /** Runs nothing: line n takes n milliseconds, give or take one. */
  function clockwork(): Device {
    const { compiled, lines } = tinyStep();
    const kernels = kernelsOf(lines);
    const executor: Partial<Executor> = {
      memory: { arenas: { ...compiled.memory.arenas }, workspaces: {}, total: 0 },
      slots: 1,
      input: () => new Uint8Array(compiled.memory.arenas.input!),
      submit: async () => {},
      write: async () => {},
      // Backwards: a line must be found by its number, not by its place in the list.
      measure: async () =>
        kernels.map(({ line }) => ({ line, milliseconds: [line + 1, line, line - 1] })).reverse(),
      [Symbol.dispose]: () => {},
    };
    const device: Partial<Device> = {
      operations,
      properties: {
        name: "clockwork",
        kind: "cpu",
        threads: 1,
        memoryBytes: 2 ** 30,
        bf16: false,
        channelMultiple: 1,
      },
      load: async () => executor as Executor,
    };
    return device as Device;
  }

  test("are the medians of the line with that number", async () => {
    const result = await measureOps(clockwork(), stepSettings(tiny), 3);
    const kernels = kernelsOf(tinyStep().lines);
    expect(places(result.lines)).toEqual(kernels);
    for (const { line, milliseconds } of result.lines) expect(milliseconds).toBe(line);
    for (const { op, milliseconds } of result.ops) {
      const own = kernels.filter((kernel) => kernel.op === op);
      expect(milliseconds).toBe(sum(own.map(({ line }) => line)));
    }
    const order = result.ops.map(({ milliseconds }) => milliseconds!);
    expect(order).toEqual([...order].sort((a, b) => b - a));
  });

  test("the table's sum is the total, and it lists the slowest lines", async () => {
    const kernels = kernelsOf(tinyStep().lines);
    const total = sum(kernels.map(({ line }) => line));
    const text = opsTable(await measureOps(clockwork(), stepSettings(tiny), 3));
    const [, byOp = "", byLine = ""] = text.split("\n\n");
    expect(byOp).toMatch(
      new RegExp(`^ *${kernels.length} +[\\d.]+ +${total}\\.000 +100\\.0 % .* all$`, "m"),
    );
    const slowest = kernels.slice(-12).reverse();
    expect(
      byLine
        .trimEnd()
        .split("\n")
        .slice(1)
        .map((row) => row.trim().split(/ +/)[0]),
    ).toEqual(slowest.map(({ line }) => String(line)));
    expect(byLine).toMatch(/ sgd {2}bucket 0$/m);
  });
});

describe("the command", () => {
  const flags = ["--model", "resnet8", "--batch", "2", "--threads", "1", "--device", "cpu"];

  test("--traffic counts the same bytes and no time", async () => {
    const { status, stdout } = await onehour(["bench", "ops", ...flags, "--traffic", "--json"]);
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toEqual(await ops({ ...tiny, repeats: 0 }));
  });
});
