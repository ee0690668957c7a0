// Measures where a training step spends its time and bytes, instruction by instruction.

import { median } from "../arrays/median.js";
import { usableCores } from "../device/cores.js";
import type { Device, DeviceChoice, DeviceProperties } from "../device/device.js";
import { loadAddon } from "../device/native.js";
import { expectDevice, openDevice } from "../device/open.js";
import type { CompiledModel } from "../graph/compile.js";
import { parse } from "../graph/parse.js";
import type { Instruction } from "../graph/program.js";
import { pinModel } from "../models/models.js";
import { titleOf } from "../modules/pinned.js";
import { choosePrecision } from "../recipe/recipe.js";
import type { StepSettings } from "./contender.js";
import { firstLine } from "./parts.js";
import { stepSettings } from "./settings.js";
import { compileStep, loadStep } from "./step.js";
import { table } from "./table.js";
import { type Work, workOf } from "./traffic.js";

/** An instruction, or all of one op together. */
interface OpResult extends Work {
  op: string;
  /** Number of instructions. */
  lines: number;
  /** Kernels started on a GPU, at most, one for each call of a library; absent where it was run. */
  kernels?: number;
  /** Median of the repeats, summed over the instructions; absent where nothing was run. */
  milliseconds?: number;
}

/** An instruction of the step. */
export interface LineResult extends OpResult {
  /** In the program text, from 1. */
  line: number;
  /** Where in the model it comes from. */
  label: string;
}

export interface OpsResult {
  settings: StepSettings;
  device: string;
  repeats: number;
  lines: LineResult[];
  /** By op, the largest first. */
  ops: OpResult[];
}

/** The whole step where gradients do not accumulate. */
const program = "last";

/** Instructions that are listed by themselves. */
const longest = 12;

interface Listing {
  instructions: readonly Instruction[];
  first: number;
}

interface Counted {
  /** Milliseconds by line. */
  times?: ReadonlyMap<number, number>;
  /** Kernels by op. */
  launches?: Readonly<Record<string, number>>;
}

/** Works out each instruction's bytes and operations. */
function resultsOf({ instructions, first }: Listing, { times, launches }: Counted) {
  const lines = instructions.flatMap((instruction, i): LineResult[] => {
    const line = first + i;
    if (instruction.inputs.length + instruction.outputs.length === 0) return [];
    const milliseconds = times?.get(line);
    const kernels = launches?.[instruction.op];
    return [
      {
        op: instruction.op,
        label: instruction.comment,
        line,
        lines: 1,
        ...workOf(instruction),
        ...(kernels === undefined ? {} : { kernels }),
        ...(milliseconds === undefined ? {} : { milliseconds }),
      },
    ];
  });
  const ops = new Map<string, OpResult>();
  for (const { op, bytes, operations, kernels, milliseconds } of lines) {
    const sum = ops.get(op) ?? { op, lines: 0, bytes: 0, operations: 0 };
    sum.lines += 1;
    sum.bytes += bytes;
    sum.operations += operations;
    if (kernels !== undefined) sum.kernels = (sum.kernels ?? 0) + kernels;
    if (milliseconds !== undefined) sum.milliseconds = (sum.milliseconds ?? 0) + milliseconds;
    ops.set(op, sum);
  }
  return { lines, ops: [...ops.values()].sort(larger) };
}

const larger = (a: OpResult, b: OpResult) =>
  (b.milliseconds ?? 0) - (a.milliseconds ?? 0) || b.bytes - a.bytes;

/** The instructions of the step, with the number of the first one's line. */
function readProgram({ programs }: CompiledModel): Listing {
  const parsed = parse(programs.find(({ name }) => name === program)!.text);
  return { instructions: parsed.instructions, first: firstLine(parsed) };
}

interface OpsOptions {
  model: string;
  batch: number;
  /** By default bf16 on a GPU, fp32 on the CPU. */
  precision?: StepSettings["precision"];
  device?: DeviceChoice;
  /** CPU threads; by default all cores. */
  threads?: number;
  /** How often the step is run; 0 only counts, which needs no device. */
  repeats: number;
}

/** Channels that images are padded to a multiple of, by the kind of device. */
const channelMultiples = { cpu: 1, cuda: 4 };

/**
 * Counts the bytes and operations of the training step's instructions, and with `repeats` > 0 runs
 * it that often, one kernel after the other, and times each.
 *
 * @throws OnehourError of opening a device, compiling or loading
 */
export async function ops(asked: OpsOptions): Promise<OpsResult> {
  const options = { ...asked, model: await pinModel(asked.model) };
  if (options.repeats === 0) return countOps(options);
  const { threads = usableCores() } = options;
  using device = openDevice({ device: options.device ?? "auto", threads });
  return await measureOps(device, settingsOf(options, device.properties), options.repeats);
}

function settingsOf(options: OpsOptions, device: Pick<DeviceProperties, "kind">) {
  return stepSettings({
    model: options.model,
    batch: options.batch,
    precision: choosePrecision(options.precision, device),
    device: device.kind,
    threads: options.threads ?? usableCores(),
  });
}

function countOps(options: OpsOptions): OpsResult {
  const { device = "auto" } = options;
  const kind = device === "auto" ? expectDevice(device).kind : device;
  const settings = settingsOf(options, { kind });
  const addon = loadAddon(kind);
  const operations = new Set(Object.keys(addon.operations()));
  const properties = { channelMultiple: channelMultiples[kind] };
  const compiled = compileStep(settings, { operations, properties }, 1);
  const counted = kind === "cuda" ? { launches: addon.launches() } : {};
  return { settings, device: kind, repeats: 0, ...resultsOf(readProgram(compiled), counted) };
}

/** Runs the step on a device `repeats` times, one kernel after the other, and times each. */
export async function measureOps(
  device: Device,
  settings: StepSettings,
  repeats: number,
): Promise<OpsResult> {
  const { name } = device.properties;
  const compiled = compileStep(settings, device, 1);
  using executor = await loadStep(device, compiled, settings);
  for (let i = 0; i < 2; i++) await executor.submit(program, 0); // warm-up
  const timings = await executor.measure(program, 0, repeats);
  const times = new Map(timings.map(({ line, milliseconds }) => [line, median(milliseconds)]));
  return { settings, device: name, repeats, ...resultsOf(readProgram(compiled), { times }) };
}

/** The result as a person reads it. */
export function opsTable({ settings, device, repeats, lines, ops }: OpsResult): string {
  const { height, width, channels } = settings.images;
  const total = lines.reduce((sum, { milliseconds = 0 }) => sum + milliseconds, 0);
  const row = (result: OpResult, name: string, count: string): string[] => {
    const { bytes, operations, kernels, milliseconds } = result;
    const perImage = (bytes / settings.batch / 1e6).toFixed(2);
    if (milliseconds === undefined)
      return [count, ...(kernels === undefined ? [] : [String(kernels)]), perImage, name];
    const seconds = milliseconds / 1000;
    return [
      count,
      perImage,
      milliseconds.toFixed(3),
      `${((100 * milliseconds) / total).toFixed(1)} %`,
      (bytes / seconds / 1e9).toFixed(1),
      operations === 0 ? "" : (operations / seconds / 1e9).toFixed(0),
      name,
    ];
  };
  const columns = [
    ...(ops[0]?.kernels === undefined ? [] : ["kernels"]),
    "MB an image",
    ...(repeats > 0 ? ["ms", "of all", "GB/s", "GFLOP/s"] : []),
  ];
  const sum: OpResult = { op: "all", lines: lines.length, bytes: 0, operations: 0 };
  for (const { bytes, operations, kernels } of ops) {
    sum.bytes += bytes;
    sum.operations += operations;
    if (kernels !== undefined) sum.kernels = (sum.kernels ?? 0) + kernels;
  }
  if (repeats > 0) sum.milliseconds = total;
  const byOp = [...ops, sum].map((op) => row(op, op.op, String(op.lines)));
  const parts = [
    `${titleOf(settings.model)}, ${height}×${width}×${channels}, batch ${settings.batch}, ` +
      `${settings.precision}, ${device}\n`,
    repeats > 0
      ? `each instruction by itself, median of ${repeats} repeats\n\n`
      : "bytes of each operand once\n\n",
    table([["lines", ...columns, "op"], ...byOp]),
  ];
  if (repeats > 0) {
    const slowest = [...lines].sort(larger).slice(0, longest);
    const byLine = slowest.map((line) =>
      row(line, `${line.op}${line.label && `  ${line.label}`}`, String(line.line)),
    );
    parts.push("\n", table([["line", ...columns, "op"], ...byLine]));
  }
  return parts.join("");
}
