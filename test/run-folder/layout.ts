// Parts of checkpoints: the layout of a tensor that is stored as it is, a position, a file of any header.
import type { TensorLayout } from "../../lib/graph/compile.js";

export const layout = (
  name: string,
  shape: number[],
  role: TensorLayout["role"],
): TensorLayout => ({
  name,
  shape,
  stored: shape,
  offset: 0,
  role,
  initial: { kind: "constant", value: 0 },
});

export const position = {
  step: 12,
  epoch: 3,
  lastLearningRate: 0.1 / 3,
  seed: 9,
  lossSum: 1 / 3,
  top1Sum: 2 / 3,
  epochSeconds: 1.5,
  seconds: 60.25,
};

/** The beginning of a safetensors file: the header's length and its JSON. */
export function headOf(header: unknown): Buffer {
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json]);
}
