// A program: arenas, instructions and their operands, and the text that the native core loads.
import type { DataType } from "./tensor.js";

/** Storage classes of a program; `temp` is planned, the others are laid out by who compiles. */
export const arenaNames = ["param", "weight", "grad", "state", "input", "output", "temp"] as const;
export type ArenaName = (typeof arenaNames)[number];

/** In-order queues of a program. */
export const streamNames = ["compute", "comm", "statistics"] as const;
export type StreamName = (typeof streamNames)[number];

export interface Operand {
  name: string;
  arena: ArenaName;
  /** Bytes from the arena's start, for input and output from the slot's. */
  offset: number;
  dtype: DataType;
  shape: number[];
}

export interface Instruction {
  stream: StreamName;
  op: string;
  attributes: Record<string, string>;
  inputs: Operand[];
  outputs: Operand[];
  comment: string;
}

export interface Arena {
  name: ArenaName;
  /** Of one slot. */
  bytes: number;
  slots: number;
}

export interface Program {
  name: string;
  arenas: Arena[];
  instructions: Instruction[];
}

const HEADER = "onehour-program 1";

function operandText({ name, arena, offset, dtype, shape }: Operand): string {
  return `${name}=${arena}+${offset}:${dtype}[${shape.join(",")}]`;
}

/** The text that the native core loads, one instruction a line. */
export function print(program: Program): string {
  const lines = [HEADER, `name ${program.name}`];
  for (const { name, bytes, slots } of program.arenas)
    lines.push(`arena ${name} ${bytes}${slots > 1 ? ` slots=${slots}` : ""}`);
  for (const { stream, op, attributes, inputs, outputs, comment } of program.instructions) {
    const words = [stream, op, ...Object.entries(attributes).map(([key, v]) => `${key}=${v}`)];
    if (inputs.length + outputs.length > 0)
      words.push("|", ...inputs.map(operandText), "->", ...outputs.map(operandText));
    if (comment !== "") words.push("#", comment);
    lines.push(words.join(" "));
  }
  return `${lines.join("\n")}\n`;
}
