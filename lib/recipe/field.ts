// A field of a recipe: a row with its heading and with what may become of it.
import type { z } from "zod";
import type { Row } from "./row.js";

/** Headings of `onehour train --help` and of the documentation, in their order. */
export const groups = [
  "Data and network",
  "Minibatch",
  "Length",
  "Learning rate",
  "Optimizer",
  "Batch norm",
  "Device",
  "Run folder",
] as const;

export interface Field<Schema extends z.ZodType = z.ZodType> extends Row<Schema> {
  group: (typeof groups)[number];
  /** The value of the flag where its value, in brackets, is left out. */
  bare?: number;
  /** What it is called elsewhere: in PyTorch, torchvision, timm, Keras, Lightning. */
  alias?: string;
  /**
   * Whether it may change when a run is resumed, by itself or together with others whose product stays;
   * another change would make another run.
   */
  onResume?: true | "together";
  /** Where it has no effect in a script's own loop: what `train` does, and the loop does not. */
  trainOnly?: string;
  /** Whether the ranks of a run may differ in it. */
  perRank?: true;
  /** Whether a value may be the path of a module of the user's, which a run keeps with its digest. */
  isModule?: true;
}

/** A row whose schema keeps its type. */
export function field<Schema extends z.ZodType>(
  schema: Schema,
  facts: Omit<Field, "schema">,
): Field<Schema> {
  return { schema, ...facts };
}
