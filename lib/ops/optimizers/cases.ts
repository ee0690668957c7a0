// The type of an optimizer's test cases. Every device is compared with PyTorch after each of several steps,
// and the GPU with the CPU in one.
import type { ParameterRange } from "./optimizer.js";

/** Updates that are built alike and differ in their rows. */
export interface UpdateFamily<Row extends { readonly name: string } = { readonly name: string }> {
  /** The line of the oracle that computes the references, and the fixture that holds them. */
  readonly family: string;
  /** Cases with references: the parameters and the momentum after each step. */
  readonly rows: readonly Row[];
  /** Further sizes, compared between devices alone. */
  readonly sizes?: readonly Row[];
  /** Sizes that only a GPU computes in a short time. */
  readonly large?: readonly Row[];
  /** Elements of the tensors. */
  readonly lengths: (row: Row) => readonly number[];
  /** Adds the update of all tensors to the graph of their values. */
  readonly update: (
    range: Pick<ParameterRange, "w" | "g" | "v" | "schedule" | "writes">,
    row: Row,
  ) => void;
}

/** The families that the loaded files declare. */
export const definedUpdates: UpdateFamily[] = [];

/** Declares a family, checked with the type of its rows. */
export function defineUpdates<Row extends { readonly name: string }>(
  family: UpdateFamily<Row>,
): void {
  definedUpdates.push(family as unknown as UpdateFamily);
}
