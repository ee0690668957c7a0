// The layout of a tensor that is stored as it is.
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
