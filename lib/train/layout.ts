// Between torchvision's layout of a tensor (OIHW) and the device's (KRSC, channels padded with 0).

import type { TensorLayout } from "../graph/compile.js";
import { elements } from "../graph/graph.js";

/** Calls `visit` with the index of each element in torchvision's layout and in the stored one. */
function eachElement(layout: TensorLayout, visit: (plain: number, stored: number) => void): void {
  const [outputs = 1, inputs = 1, rows = 1, columns = 1] = layout.shape;
  const channels = layout.stored.length > 1 ? layout.stored.at(-1)! : 1;
  for (let o = 0; o < outputs; o++) {
    for (let r = 0; r < rows; r++) {
      for (let s = 0; s < columns; s++) {
        const stored = ((o * rows + r) * columns + s) * channels;
        const plain = (o * inputs * rows + r) * columns + s;
        for (let i = 0; i < inputs; i++) visit(plain + i * rows * columns, stored + i);
      }
    }
  }
}

/** The tensor as it lies in its arena; padding is 0. */
export function toStored(layout: TensorLayout, values: Float32Array): Float32Array {
  const stored = new Float32Array(elements(layout.stored));
  eachElement(layout, (plain, at) => {
    stored[at] = values[plain]!;
  });
  return stored;
}

/** The tensor in torchvision's layout, from what lies in its arena. */
export function fromStored(layout: TensorLayout, stored: Float32Array): Float32Array {
  const values = new Float32Array(elements(layout.shape));
  eachElement(layout, (plain, at) => {
    values[plain] = stored[at]!;
  });
  return values;
}
