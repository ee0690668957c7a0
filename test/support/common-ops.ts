// The ops that every backend has a kernel for: all but those that fusion alone makes.
import { book } from "../../lib/ops/book.js";

export const commonOps: ReadonlySet<string> = new Set(
  [...book.values()].filter(({ expand }) => expand === undefined).map(({ name }) => name),
);
