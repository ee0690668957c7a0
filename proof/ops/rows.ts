// The rows of the op book that the PyTorch oracle computes references for, by its lines; those of ops with
// their inputs. Printed as JSON for scripts/oracle.py.
import { caseFamilies, updateFamilies } from "#lib/ops/book.js";

const ofOps = caseFamilies.map(({ family, rows, inputs }) => ({
  family,
  rows: rows.map((row) => ({ ...row, inputs: inputs(row) })),
}));
const withRows = [...ofOps, ...updateFamilies].filter(({ rows }) => rows.length > 0);
console.log(JSON.stringify(Object.fromEntries(withRows.map(({ family, rows }) => [family, rows]))));
