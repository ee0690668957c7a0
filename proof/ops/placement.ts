// One instruction as a program of its own, whose operands lie apart between sentinels.
import type { Device, Executor } from "#lib/device/device.js";
import { align } from "#lib/graph/graph.js";
import { operandBytes } from "#lib/graph/parse.js";
import { type Instruction, type Operand, print } from "#lib/graph/program.js";

/**
 * The byte that outputs hold beforehand and that follows inputs: NaN in every floating-point type, −1 as
 * an integer. What is read beyond an operand, or never written, then shows in the result.
 */
const POISON = 0xff;
/** What follows outputs: a NaN with other bits, since arithmetic keeps those of the NaN that it reads. */
const GUARD_OF_OUTPUTS = Buffer.from([0xd5, 0xff]);

/** Bytes between operands. */
const GUARD = 256;
const ALIGNMENT = 64;

/** Where an operand lies in the arena of the program. */
export interface Place {
  offset: number;
  bytes: number;
  /** Where the original program has it. */
  operand: Operand;
  isInput: boolean;
  isOutput: boolean;
}

/** An instruction by itself. */
export interface Placement {
  /** Of the program. */
  name: string;
  instruction: Instruction;
  /** Ranges that do not overlap; operands of one range share it. */
  places: Place[];
  /** Offsets of the instruction's outputs, in their order. */
  outputs: number[];
  /** Of the arena `state`, in which all operands lie. */
  bytes: number;
  text: string;
}

const keyOf = ({ arena, offset }: Operand) => `${arena}+${offset}`;

/**
 * Lays the operands of an instruction out anew. Operands that share bytes go on sharing them;
 * `shared` names an output and the input whose bytes it is to take besides.
 */
export function place(
  name: string,
  instruction: Instruction,
  shared?: { output: string; input: string },
): Placement {
  const places = new Map<string, Place>();
  let end = GUARD;
  const put = (operand: Operand, isInput: boolean, isOutput: boolean): Operand => {
    const target =
      isOutput && operand.name === shared?.output
        ? instruction.inputs.find((input) => input.name === shared.input)!
        : operand;
    const key = keyOf(target);
    const bytes = operandBytes(operand);
    let found = places.get(key);
    if (found === undefined) {
      found = { offset: end, bytes, operand, isInput, isOutput };
      end = Math.ceil((end + bytes + GUARD) / ALIGNMENT) * ALIGNMENT;
      places.set(key, found);
    }
    if (bytes > found.bytes) throw new Error(`${name}: ${operand.name} is larger than its place`);
    found.isInput ||= isInput;
    found.isOutput ||= isOutput;
    return { ...operand, arena: "state", offset: found.offset };
  };
  const inputs = instruction.inputs.map((operand) => put(operand, true, false));
  const outputs = instruction.outputs.map((operand) => put(operand, false, true));
  const arena = (arenaName: "param" | "weight" | "grad" | "input" | "output" | "temp") => ({
    name: arenaName,
    bytes: 0,
    slots: 1,
  });
  const text = print({
    name,
    arenas: [
      ...(["param", "weight", "grad"] as const).map(arena),
      { name: "state", bytes: end, slots: 1 },
      ...(["input", "output", "temp"] as const).map(arena),
    ],
    instructions: [{ ...instruction, stream: "compute", inputs, outputs }],
  });
  const offsets = outputs.map(({ offset }) => offset);
  return { name, instruction, places: [...places.values()], outputs: offsets, bytes: end, text };
}

/** The bytes of an instruction's outputs after the program ran, in their order. */
export function outputsOf({ instruction, outputs }: Placement, after: Uint8Array): Uint8Array[] {
  return instruction.outputs.map((output, i) =>
    after.subarray(outputs[i]!, outputs[i]! + operandBytes(output)),
  );
}

/** The arena before the program runs: inputs from `contents`, poison everywhere else. */
function imageOf(
  { places, bytes }: Placement,
  contents: (operand: Operand) => Uint8Array,
): Uint8Array {
  const image = Buffer.alloc(bytes, POISON);
  places.forEach(({ offset, operand, isInput, isOutput, bytes: own }, i) => {
    if (isOutput) image.fill(GUARD_OF_OUTPUTS, offset + align(own, 2), places[i + 1]?.offset);
    if (isInput) image.set(contents(operand), offset);
  });
  return image;
}

/** The first byte outside of the outputs that the program changed, in words; undefined if none. */
export function strayWrite(
  { places }: Placement,
  before: Uint8Array,
  after: Uint8Array,
): string | undefined {
  let from = 0;
  for (const { offset, bytes, operand, isOutput } of places) {
    const stray = differenceIn(before, after, from, offset);
    if (stray !== undefined) return `a byte ${offset - stray} before ${operand.name} was written`;
    if (!isOutput && differenceIn(before, after, offset, offset + bytes) !== undefined)
      return `its input ${operand.name} was written`;
    from = offset + bytes;
  }
  const stray = differenceIn(before, after, from, before.length);
  return stray === undefined
    ? undefined
    : `a byte ${stray - from} after the last operand was written`;
}

function differenceIn(
  before: Uint8Array,
  after: Uint8Array,
  from: number,
  to: number,
): number | undefined {
  if (Buffer.compare(before.subarray(from, to), after.subarray(from, to)) === 0) return undefined;
  for (let i = from; i < to; i++) if (before[i] !== after[i]) return i;
  return undefined;
}

/** Loads the programs of placed instructions. */
export function load(device: Device, placements: readonly Placement[]): Promise<Executor> {
  return device.load(placements.map(({ name, text }) => ({ name, text })));
}

/** Runs a placed instruction on contents; returns the arena before and after. */
export async function runPlaced(
  executor: Executor,
  placement: Placement,
  contents: (operand: Operand) => Uint8Array,
): Promise<{ before: Uint8Array; after: Uint8Array }> {
  const before = imageOf(placement, contents);
  await executor.write("state", 0, before);
  await executor.submit(placement.name, 0);
  return { before, after: await executor.read("state", 0, before.length) };
}
