// Runs the instructions of a program one by one on the CPU and on the device, each from the CPU's
// values, and compares what they write.
import type { Device } from "#lib/device/device.js";
import { float32FromBf16, float32FromF16 } from "#lib/graph/graph.js";
import { operandBytes } from "#lib/graph/parse.js";
import type { Instruction, Operand } from "#lib/graph/program.js";
import { book } from "#lib/ops/book.js";
import { relativeError } from "../compare.js";
import { comparedOf, contentsOf, type OpCase } from "./case.js";
import type { Expected } from "./expected.js";
import { load, outputsOf, type Placement, place, runPlaced, strayWrite } from "./placement.js";

/** The comparison of one output. */
export interface OpFinding {
  /** The case, the op and the operand. */
  name: string;
  op: string;
  /** Relative to the norm of the CPU's result. */
  error: number;
  tolerance: number;
  problem?: string;
}

/**
 * Allowed error relative to the result's norm. fp32: sums of some thousand terms in another order,
 * 2⁻²⁴ each. tf32 rounds operands to 2⁻¹¹. bf16 and f16: results are rounded once, by 2⁻⁹ and 2⁻¹² at most,
 * on each side.
 */
const tolerances = { f32: 2e-5, tf32: 2 ** -10, bf16: 2 ** -8, f16: 2 ** -11 };

/** No element may be wrong by more than so many tolerances, relative to it and the root mean square. */
const elementFactor = 16;

function toleranceOf(instruction: Instruction, output: Operand): number {
  const { op, attributes, inputs, outputs } = instruction;
  if (attributes.precision === "tf32") return tolerances.tf32;
  // A product may be computed wholly in its operands' type, then stored in f32.
  const operands = book.get(op)?.products ? [output, ...inputs, ...outputs] : [output];
  const low = operands
    .map(({ dtype }) => dtype)
    .find((dtype) => dtype === "bf16" || dtype === "f16");
  return tolerances[low ?? "f32"];
}

function numbersOf(bytes: Uint8Array, dtype: Operand["dtype"]): ArrayLike<number> {
  const { buffer } = Uint8Array.from(bytes);
  if (dtype === "f32") return new Float32Array(buffer);
  if (dtype === "bf16") return float32FromBf16(new Uint16Array(buffer));
  if (dtype === "f16") return float32FromF16(new Uint16Array(buffer));
  if (dtype === "i32") return new Int32Array(buffer);
  return new Uint8Array(buffer);
}

/** Compares one output. */
function compare(
  instruction: Instruction,
  output: Operand,
  got: Uint8Array,
  expected: Uint8Array,
): Pick<OpFinding, "error" | "tolerance" | "problem"> {
  if (output.dtype === "u8" || output.dtype === "i32") {
    const same = identical(got, expected);
    return { error: 0, tolerance: 0, ...(same ? {} : { problem: "integers differ" }) };
  }
  const tolerance = toleranceOf(instruction, output);
  const [a, b] = [numbersOf(got, output.dtype), numbersOf(expected, output.dtype)];
  const error = relativeError(a, b);
  let squares = 0;
  for (let i = 0; i < b.length; i++) squares += b[i]! ** 2;
  const typical = Math.sqrt(squares / b.length);
  for (let i = 0; i < b.length; i++) {
    const allowed = elementFactor * tolerance * (Math.abs(b[i]!) + typical);
    if (Math.abs(a[i]! - b[i]!) <= allowed) continue;
    return { error, tolerance, problem: `element ${i} is ${a[i]}, expected ${b[i]}` };
  }
  if (error <= tolerance) return { error, tolerance };
  return { error, tolerance, problem: `relative error ${error.toPrecision(3)}` };
}

/** The instruction as it stands, and once for each input whose bytes an output may take. */
function variantsOf(name: string, instruction: Instruction): Placement[] {
  const variants = [place(name, instruction)];
  for (const [output, inputs] of Object.entries(book.get(instruction.op)?.replaces ?? {})) {
    const written = instruction.outputs.find((operand) => operand.name === output);
    for (const input of inputs) {
      const read = instruction.inputs.find((operand) => operand.name === input);
      if (!written || !read || operandBytes(written) !== operandBytes(read)) continue;
      const isShared = `${read.arena}+${read.offset}` === `${written.arena}+${written.offset}`;
      if (!isShared) variants.push(place(`${name}-in-${input}`, instruction, { output, input }));
    }
  }
  return variants;
}

/** Where to run the instructions of a case, and how. */
interface OpCheckOptions {
  expected: Expected;
  device: Device;
  /** Loads every instruction by itself, into memory that ends with its last operand. */
  apart?: boolean;
  /** Called with every comparison. */
  onFinding: (finding: OpFinding) => void;
}

const identical = (a: Uint8Array, b: Uint8Array) => Buffer.compare(a, b) === 0;

/** Compares all instructions of a case. */
export async function checkOps(
  opCase: OpCase,
  { expected, device, apart = false, onFinding }: OpCheckOptions,
): Promise<void> {
  const { name } = opCase;
  const instructions = comparedOf(opCase);
  const onDevice = instructions.map((instruction, i) => variantsOf(`line-${i}`, instruction));
  using all = apart ? undefined : await load(device, onDevice.flat());

  for (const [i, instruction] of instructions.entries()) {
    const before = new Map(
      instruction.inputs.map((operand) => [operand, contentsOf(opCase, operand).slice()] as const),
    );
    await expected.advance();
    let apartFromInputs: Uint8Array[] | undefined;
    for (const placement of onDevice[i]!) {
      using own = apart ? await load(device, [placement]) : undefined;
      const contents = (operand: Operand) => before.get(operand)!;
      const run = await runPlaced((own ?? all)!, placement, contents);
      const stray = strayWrite(placement, run.before, run.after);
      const results = outputsOf(placement, run.after);
      const [, sharing] = placement.name.split("-in-");
      instruction.outputs.forEach((output, j) => {
        const comparison = compare(instruction, output, results[j]!, contentsOf(opCase, output));
        const alike = apartFromInputs === undefined || identical(apartFromInputs[j]!, results[j]!);
        const problem =
          stray ??
          comparison.problem ??
          (alike ? undefined : "other bits than apart from its input");
        const where = sharing === undefined ? "" : ` in the place of ${sharing}`;
        const label = instruction.comment === "" ? "" : ` # ${instruction.comment}`;
        onFinding({
          op: instruction.op,
          name: `${name}: ${instruction.op} ${output.name}${where}${label}`,
          ...comparison,
          ...(problem === undefined ? {} : { problem }),
        });
      });
      apartFromInputs ??= results;
    }
  }
}
