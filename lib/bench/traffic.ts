// Counts what a program's lines move and multiply, from the program text.
import { operandBytes } from "../graph/parse.js";
import type { Instruction } from "../graph/program.js";
import { book } from "../ops/book.js";

/** The work of one instruction. */
export interface Work {
  /** Bytes of all operands, each read or written once: what a kernel cannot do without. */
  bytes: number;
  /** Floating-point operations of convolutions and matrix products, a multiply-add being two. */
  operations: number;
}

/** The work of a line of a program. */
export function workOf({ op, inputs, outputs }: Instruction): Work {
  const operands = [...inputs, ...outputs];
  const shapes = Object.fromEntries(operands.map(({ name, shape }) => [name, shape]));
  return {
    bytes: operands.reduce((sum, operand) => sum + operandBytes(operand), 0),
    operations: 2 * (book.get(op)?.products?.(shapes) ?? 0),
  };
}
