// What a program's lines move and multiply, counted from the program text itself.
import { elements } from "../graph/graph.js";
import { operandBytes } from "../graph/parse.js";
import type { Instruction, Operand } from "../graph/program.js";

/** The work of one instruction. */
export interface Work {
  /** Bytes of all operands, each read or written once: what a kernel cannot do without. */
  bytes: number;
  /** Floating-point operations of convolutions and matrix products, a multiply-add being two. */
  operations: number;
}

/** Products per element of an operand: which operand is walked, and by the size of which other. */
const products: Readonly<Record<string, { each: string; times: (shapes: Shapes) => number }>> = {
  conv2d: { each: "y", times: ({ w }) => perFilter(w) },
  "conv2d-statistics": { each: "y", times: ({ w }) => perFilter(w) },
  "conv2d-backward-data": { each: "dy", times: ({ w }) => perFilter(w) },
  "conv2d-backward-weight": { each: "dy", times: ({ dw }) => perFilter(dw) },
  linear: { each: "y", times: ({ w }) => perFilter(w) },
  "linear-backward-data": { each: "dx", times: ({ w }) => w?.[0] ?? 0 },
  "linear-backward-weight": { each: "dw", times: ({ x }) => x?.[0] ?? 0 },
};

type Shapes = Readonly<Record<string, readonly number[] | undefined>>;

/** R·S·C of filters [K, R, S, C], C of a matrix [K, C]. */
function perFilter(shape: readonly number[] = []): number {
  return elements(shape.slice(1));
}

/** The work of a line of a program. */
export function workOf({ op, inputs, outputs }: Instruction): Work {
  const operands: Operand[] = [...inputs, ...outputs];
  const shapes: Shapes = Object.fromEntries(operands.map(({ name, shape }) => [name, shape]));
  const product = products[op];
  return {
    bytes: operands.reduce((sum, operand) => sum + operandBytes(operand), 0),
    operations:
      product === undefined ? 0 : 2 * elements(shapes[product.each] ?? []) * product.times(shapes),
  };
}
