// The programs that a benchmark of several numbers of workers loads side by side: a step for each number,
// and the same with its collectives left out.
import { parse } from "../graph/parse.js";
import { print } from "../graph/program.js";
import { communicates } from "./parts.js";

/** A number of workers, and the images of each. */
export interface Count {
  workers: number;
  batch: number;
}

/** A step, or the same with its collectives left out. */
export type Variant = "step" | "alone";

/** What a variant's program is called. */
export const variantName = (variant: Variant, workers: number): string => `${variant}-${workers}`;

/** What a number of workers calls its communicator. */
export const groupName = (workers: number): string => `gradients-${workers}`;

/** The text of a step under the name of its variant, its collectives among the first `workers` ranks. */
export function variantOf(text: string, variant: Variant, workers: number): string {
  const { arenas, instructions } = parse(text);
  const kept = instructions.flatMap((instruction) => {
    if (!communicates(instruction)) return [instruction];
    if (variant === "alone") return [];
    const attributes = { ...instruction.attributes, communicator: groupName(workers) };
    return [{ ...instruction, attributes }];
  });
  return print({ name: variantName(variant, workers), arenas, instructions: kept });
}
