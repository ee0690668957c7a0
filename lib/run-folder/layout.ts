// Converts tensors between torchvision's layout (OIHW) and the device's (KRSC, channels padded with 0).

import type { TensorLayout } from "../graph/compile.js";
import { elements } from "../graph/graph.js";

/**
 * Elements of a filter's window and channels: as they are, and as they are stored. A matrix may be stored
 * as filters of a whole image, whose channels come last.
 */
function sizesOf({ shape, stored }: TensorLayout) {
  const padded = stored.length > 1 ? stored.at(-1)! : 1;
  const [outputs = 1, channels = 1, rows = 1, columns = 1] =
    shape.length === 2 && stored.length === 4 ? [shape[0], padded, stored[1], stored[2]] : shape;
  return { outputs, channels, window: rows * columns, padded };
}

/** Whether both layouts are one order of the same elements. */
function isSame(layout: TensorLayout): boolean {
  return sizesOf(layout).window === 1 && elements(layout.shape) === elements(layout.stored);
}

/** A matrix of each output: rows × columns, a row `width` elements from the next. */
interface Matrices {
  values: Float32Array;
  rows: number;
  columns: number;
  width: number;
}

/** Writes each matrix transposed, rows `width` apart. */
function transpose(count: number, source: Matrices, target: Float32Array, width: number): void {
  const { values, rows, columns, width: sourceWidth } = source;
  for (let matrix = 0; matrix < count; matrix++) {
    const from = matrix * rows * sourceWidth;
    const to = matrix * columns * width;
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        target[to + column * width + row] = values[from + row * sourceWidth + column]!;
      }
    }
  }
}

/** The tensor as it lies in its arena; padding is 0. */
export function toStored(layout: TensorLayout, values: Float32Array): Float32Array {
  if (isSame(layout)) return values.slice();
  const { outputs, channels, window, padded } = sizesOf(layout);
  const stored = new Float32Array(elements(layout.stored));
  transpose(outputs, { values, rows: channels, columns: window, width: window }, stored, padded);
  return stored;
}

/** The tensor in torchvision's layout, from what lies in its arena. */
export function fromStored(layout: TensorLayout, stored: Float32Array): Float32Array {
  if (isSame(layout)) return stored.slice();
  const { outputs, channels, window, padded } = sizesOf(layout);
  const values = new Float32Array(elements(layout.shape));
  const source = { values: stored, rows: window, columns: channels, width: padded };
  transpose(outputs, source, values, window);
  return values;
}
