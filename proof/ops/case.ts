// A program whose instructions are compared one by one, and the bytes that they work on.
import { operandBytes } from "#lib/graph/parse.js";
import type { Instruction, Operand, Program } from "#lib/graph/program.js";

/** A program with the contents of its arenas before it runs. */
export interface OpCase {
  name: string;
  program: Program;
  arenas: Map<string, Uint8Array>;
}

/** Empty arenas of a program. */
export function arenasOf(program: Program): Map<string, Uint8Array> {
  return new Map(program.arenas.map(({ name, bytes }) => [name, new Uint8Array(bytes)]));
}

/** The instructions of a program that are compared. */
export const comparedOf = ({ program }: OpCase): Instruction[] =>
  program.instructions.filter(({ outputs }) => outputs.length > 0);

/** The bytes of an operand of a case as they are now. */
export function contentsOf({ arenas }: OpCase, operand: Operand): Uint8Array {
  const { arena, offset } = operand;
  const bytes = operandBytes(operand);
  if (offset >= 0) return arenas.get(arena)!.subarray(offset, offset + bytes);
  // Of an expansion, between two of its instructions.
  const key = `${bytes} bytes`;
  const held = arenas.get(key) ?? new Uint8Array(bytes);
  arenas.set(key, held);
  return held;
}
