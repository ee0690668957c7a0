// The op book for tests: an op by its name, the rows of a family, and the ops of every backend.
import type { Op } from "../../lib/graph/graph.js";
import { book, caseFamilies } from "../../lib/ops/book.js";
import type { CaseRow } from "../../lib/ops/cases.js";

export const op = (name: string): Op => book.get(name)!;

/** The rows of a family that have a reference, with the fields that a test uses of them. */
export const rowsOf = <Fields>(named: string) =>
  caseFamilies.find(({ family }) => family === named)!.rows as readonly (CaseRow & Fields)[];

/** The ops that every backend has a kernel for: all but those that fusion alone makes. */
export const commonOps: ReadonlySet<string> = new Set(
  [...book.values()].filter(({ expand }) => expand === undefined).map(({ name }) => name),
);
