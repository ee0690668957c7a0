// The type of an op's test cases: the inputs, and the graph to build from them. The PyTorch oracle, the CPU,
// the emulated GPU and a real one compute the same cases.
import type { Value } from "../graph/graph.js";

/** A row of a family: its name, the type that the op computes in, and what the family says of it. */
export interface CaseRow {
  readonly name: string;
  readonly dtype: "f32" | "bf16" | "f16";
}

/** An input of a case, and how its elements are drawn: uniformly. */
export interface CaseInput {
  readonly shape: readonly number[];
  /** f32 in every case; otherwise the case's type. */
  readonly f32?: true;
  /** Standard deviation of the numbers (1) and their mean (0). */
  readonly deviation?: number;
  readonly mean?: number;
  /** u8 below this instead. */
  readonly bytes?: number;
  /** Labels instead: i32 below this, or −1, which counts in no sum. */
  readonly classes?: number;
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
  /** y, or several outputs by their names in the fixture. */
  readonly build: (
    inputs: Readonly<Record<string, Value>>,
    row: Row,
  ) => Value | Readonly<Record<string, Value>>;
  /** Allowed error relative to the norm of the reference, where it is not that of one rounding. */
  readonly tolerance?: (row: Row, output: string) => number;
  /** Outputs whose elements are compared one by one, for they are of different sizes. */
  readonly elementwise?: readonly string[];
  /**
   * Half the distance of the two points of a finite difference, and its allowed error relative to the
   * gradient's norm; undefined for a row that is not differentiable where it is. A family without it has
   * outputs that are not differentiated.
   */
  readonly difference?: (row: Row) => { step: number; tolerance: number } | undefined;
}

/** The families that the loaded files declare. */
export const definedCases: CaseFamily[] = [];

/** Declares a family, checked with the type of its rows. */
export function defineCases<Row extends CaseRow>(family: CaseFamily<Row>): CaseFamily<Row> {
  definedCases.push(family as unknown as CaseFamily);
  return family;
}

/**
 * A finite difference of an op that is linear in each input: no truncation, so a large step makes
 * rounding small.
 */
export const linearDifference = () => ({ step: 1, tolerance: 1e-5 });
