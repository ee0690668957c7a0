// Measures each convolution of ResNet-50's training step in every pattern that cuDNN has an engine for, then in
// every form that this project has a kernel for: alone, with the statistics of batch norm from its epilogue
// or from a pass of their own, both gradients, and 1×1 filters as matrix products. From this it is decided
// what to fuse.
import { spawnSync } from "node:child_process";
import { randomFillSync } from "node:crypto";
import { join } from "node:path";
import { median } from "#lib/arrays/median.js";
import type { StepSettings } from "#lib/bench/contender.js";
import { stepSettings } from "#lib/bench/settings.js";
import { workOf } from "#lib/bench/traffic.js";
import { defaultThreads } from "#lib/device/cores.js";
import type { Device, Executor } from "#lib/device/device.js";
import { type ConvolutionShape, formsOf, shapesOf } from "../convolutions.js";
import { describeFindings, type PatternFinding, timePatterns } from "../cudnn-patterns.js";
import { type Placement, place } from "../ops/placement.js";
import { describeState, GpuWatch } from "../results/nvidia-smi.js";
import { type Report, runPart } from "../results/report.js";
import { root } from "../root.js";

const repeats = 15;

/** Seconds that must be left for a shape whose plans are not known yet. */
const shapeSeconds = 5;

/** The share of the time that cuDNN's patterns have; the forms of this project's own ops have the rest. */
const cudnnShare = 0.8;

/** Findings from one writing of the results to the next. */
const recordEvery = 20;

/** A form of a convolution and what it takes. */
interface Form {
  form: string;
  milliseconds: number;
  bytes: number;
  operations: number;
}

/** Fills the operands' arena with ±[0.5, 1) in bf16, which is as good as any f32. */
async function fill(executor: Executor, bytes: number, block: Uint8Array): Promise<void> {
  for (let offset = 0; offset < bytes; offset += block.length)
    await executor.write("state", offset, block.subarray(0, bytes - offset));
}

function randomBlock(bytes: number): Uint8Array {
  const numbers = randomFillSync(new Uint16Array(bytes / 2));
  for (let i = 0; i < numbers.length; i++) numbers[i] = 0x3f00 | (numbers[i]! & 0x807f);
  return new Uint8Array(numbers.buffer);
}

/** Times every form of a shape. */
async function timeForms(
  device: Device,
  shape: ConvolutionShape,
  block: Uint8Array,
): Promise<Form[]> {
  const instructions = shape.lines.flatMap(formsOf);
  const placements = instructions.map((line, i): Placement => place(`form-${i}`, line));
  const programs = placements.map(({ name, text }) => ({ name, text }));
  using executor = await device.load(programs);
  await fill(executor, Math.max(...placements.map(({ bytes }) => bytes)), block);
  const forms: Form[] = [];
  for (const { name, instruction } of placements) {
    for (let i = 0; i < 2; i++) await executor.submit(name, 0);
    const [timing] = await executor.measure(name, 0, repeats);
    const milliseconds = median(timing!.milliseconds);
    forms.push({ form: instruction.op, milliseconds, ...workOf(instruction) });
  }
  return forms;
}

async function measure(report: Report, device: Device, settings: StepSettings): Promise<void> {
  const block = randomBlock(2 ** 24);
  const table: (Omit<ConvolutionShape, "lines"> & { forms: Form[] })[] = [];
  const shapes = shapesOf(device, settings);
  for (const shape of shapes) {
    const { label, count } = shape;
    if (report.secondsLeft < shapeSeconds) {
      report.skip(`${label}: the part's time is over`);
      continue;
    }
    try {
      table.push({ label, count, forms: await timeForms(device, shape, block) });
    } catch (error) {
      report.check(label, false, (error as Error).message);
      continue;
    }
    const { forms } = table.at(-1)!;
    report.check(
      label,
      forms.every(({ milliseconds }) => milliseconds > 0),
      "a form took no time",
    );
    report.record("patterns", { settings, table });
    const texts = forms.map(
      ({ form, milliseconds, bytes, operations }) =>
        `${form} ${milliseconds.toFixed(3)} ms, ${(bytes / milliseconds / 1e6).toFixed(0)} GB/s` +
        (operations > 0 ? `, ${(operations / milliseconds / 1e9).toFixed(0)} TFLOP/s` : ""),
    );
    report.note(`${label}, ${count} in a step: ${texts.join("; ")}`);
  }
  report.note(`${table.length} of ${shapes.length} shapes of ${settings.model} were timed`);
}

/** Builds the program that times cuDNN's patterns, where the part `build` built the module. */
function buildProgram(report: Report): string | undefined {
  const folder = join(root, "build/verify/cmake");
  const args = ["--build", folder, "--parallel", String(defaultThreads())];
  const { status, stdout, stderr } = spawnSync("cmake", [...args, "--target", "time_patterns"], {
    encoding: "utf8",
  });
  report.check("time_patterns builds", status === 0, `${stdout}${stderr}`.trim());
  return status === 0 ? join(folder, "time_patterns") : undefined;
}

/** Times what cuDNN has for each convolution in bf16 and fp16, fused or not. */
async function cudnnPatterns(
  report: Report,
  device: Device,
  settings: StepSettings,
): Promise<void> {
  const program = buildProgram(report);
  if (program === undefined) return;
  const shapes = shapesOf(device, settings);
  const labels = shapes.map(({ label }) => label);
  const findings: PatternFinding[] = [];
  using watch = new GpuWatch();
  const start = performance.now();
  const record = () =>
    report.record("cuDNN", { settings, shapes: labels, findings, gpu: watch.since(start) });
  const seconds = report.secondsLeft * cudnnShare;
  try {
    await timePatterns(program, [String(defaultThreads()), String(seconds)], shapes, (finding) => {
      findings.push(finding);
      if (findings.length % recordEvery === 0) record();
    });
  } catch (error) {
    report.check("time_patterns runs", false, (error as Error).message);
  }
  record();
  report.note(`the GPU meanwhile: ${describeState(watch.since(start))}`);
  for (const [i, { label, count }] of shapes.entries())
    for (const type of ["bf16", "f16"]) {
      const own = findings.filter((finding) => finding.shape === i && finding.type === type);
      report.note(`${label}, ${count} in a step, ${type}: ${describeFindings(own)}`);
    }
  const plain = findings.filter(({ pattern }) => pattern === "forward");
  report.check(
    "cuDNN computes each convolution",
    plain.length === 2 * shapes.length && plain.every(({ engine }) => engine !== null),
    describeFindings(plain),
  );
}

await runPart("patterns", async (report) => {
  const { device: module, small } = report.settings;
  using device = report.open();
  const common = { precision: "bf16", device: "cuda", threads: 1 } as const;
  const isGpu = module === "cuda";
  const settings = stepSettings({
    ...common,
    ...(isGpu && !small ? { model: "resnet50", batch: 256 } : { model: "resnet8", batch: 2 }),
  });
  if (isGpu && !small) await cudnnPatterns(report, device, settings);
  else report.skip("cuDNN's fused plans, its fp16 chain and products: they need a GPU");
  await measure(report, device, settings);
});
