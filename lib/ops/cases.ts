// What a test case of an op is: the inputs and what to build of them. The PyTorch oracle, the CPU, the
// emulated GPU and a real one compute the same cases.
import type { DataType, Value } from "../graph/graph.js";

/** A row of a family: its name, the type that the op computes in, and what the family says of it. */
export interface CaseRow {
  readonly name: string;
  readonly dtype: "f32" | "bf16";
}

/** An input of a case, and how its elements are drawn: uniform with this standard deviation and mean. */
export interface CaseInput {
  readonly shape: readonly number[];
  /** f32 in every case; otherwise the case's type. */
  readonly f32?: true;
  readonly deviation?: number;
  readonly mean?: number;
}

/** Cases that are built alike and differ in their rows. */
export interface CaseFamily<Row extends CaseRow = CaseRow> {
  /** The line of the oracle that computes the references, and the fixture that holds them. */
  readonly family: string;
  /** Cases with a reference by PyTorch. */
  readonly rows: readonly Row[];
  /** Further sizes, compared between devices alone. */
  readonly sizes?: readonly Row[];
  /** Sizes that only a GPU computes in a short time. */
  readonly large?: readonly Row[];
  readonly inputs: (row: Row) => Readonly<Record<string, CaseInput>>;
  readonly build: (inputs: Readonly<Record<string, Value>>, row: Row) => Value;
  /** Allowed error relative to the norm of the reference, where it is not that of one rounding. */
  readonly tolerance?: (row: Row) => number;
  /**
   * Half the distance of the two points of a finite difference, and its allowed error relative to the
   * gradient's norm; undefined for a case that is not differentiable where it is.
   */
  readonly difference: (row: Row) => { step: number; tolerance: number } | undefined;
}

/** Declares a family, checked with the type of its rows. */
export function defineCases<Row extends CaseRow>(family: CaseFamily<Row>): CaseFamily<Row> {
  return family;
}

/**
 * A finite difference of an op that is linear in each input: no truncation, so a large step makes
 * rounding small.
 */
export const linearDifference = () => ({ step: 1, tolerance: 1e-5 });

/** The element type of an input of a case. */
export function typeOfInput({ f32 }: CaseInput, { dtype }: CaseRow): DataType {
  return f32 ? "f32" : dtype;
}
