// The op book: every op by name, from the files of this folder. Whatever lists ops reads them here.
import type { Op } from "../graph/graph.js";
import * as batchNorm from "./batch-norm.js";
import type { CaseFamily } from "./cases.js";
import * as channels from "./channels.js";
import * as collective from "./collective.js";
import * as conv from "./conv.js";
import * as elementwise from "./elementwise.js";
import * as linear from "./linear.js";
import * as loss from "./loss.js";
import * as norms from "./norms.js";
import * as lars from "./optimizers/lars.js";
import * as sgd from "./optimizers/sgd.js";
import * as pool from "./pool.js";

const files = [
  batchNorm,
  channels,
  collective,
  conv,
  elementwise,
  linear,
  loss,
  norms,
  pool,
  sgd,
  lars,
];

const isObject = (value: unknown): value is object => typeof value === "object" && value !== null;

const isOp = (exported: unknown): exported is Op => isObject(exported) && "signature" in exported;

const opsOf = (file: Record<string, unknown>): Op[] => Object.values(file).filter(isOp);

/** Every op by the name that it has in the program text. */
export const book: ReadonlyMap<string, Op> = new Map(
  files.flatMap(opsOf).map((op) => [op.name, op]),
);

/** Convolutions and their gradients. */
export const convolutions: ReadonlySet<string> = new Set(opsOf(conv).map(({ name }) => name));

/** Ops that every backend has a kernel for: all but those that fusion alone makes. */
export const commonOps: ReadonlySet<string> = new Set(
  [...book.values()].filter(({ expand }) => expand === undefined).map(({ name }) => name),
);

/** Every family of cases. */
export const caseFamilies: readonly CaseFamily[] = files
  .flatMap((file): unknown[] => Object.values(file))
  .filter((exported): exported is CaseFamily => isObject(exported) && "family" in exported);

/** The rows that the PyTorch oracle computes references for, by its lines, with their inputs. */
export function oracleRows(): Record<string, readonly object[]> {
  const families = caseFamilies.map(({ family, rows, inputs }) => [
    family,
    rows.map((row) => ({ ...row, inputs: inputs(row) })),
  ]);
  return {
    ...Object.fromEntries(families),
    "normalize-input": elementwise.normalizeInputRows,
    loss: loss.lossRows,
    sgd: sgd.sgdRows,
    norms: norms.normsRows,
    lars: lars.larsRows,
  };
}
