// How a family of cases is read: the types of its inputs, and its outputs by name.
import { type DataType, Value } from "#lib/graph/graph.js";
import type { CaseFamily, CaseInput, CaseRow } from "#lib/ops/cases.js";

/** The element type of an input of a case that computes in the type `dtype`. */
export function typeOfInput({ f32, bytes, classes }: CaseInput, dtype: CaseRow["dtype"]): DataType {
  if (bytes !== undefined) return "u8";
  if (classes !== undefined) return "i32";
  return f32 ? "f32" : dtype;
}

/** What a case computes, by the names in its fixture. */
export function outputsOf(
  family: CaseFamily,
  inputs: Readonly<Record<string, Value>>,
  row: CaseRow,
): Readonly<Record<string, Value>> {
  const built = family.build(inputs, row);
  return built instanceof Value ? { y: built } : built;
}
