// Small networks for the tests of fusion: built, differentiated, fused.

import { gradient } from "../../lib/graph/autodiff.js";
import { fuse, prune } from "../../lib/graph/fuse.js";
import { Graph, type Value } from "../../lib/graph/graph.js";
import { book } from "../../lib/ops/book.js";
import type { BatchNormOptions } from "../../lib/ops/index.js";
import { commonOps } from "../support/op-book.js";
import { normOf } from "./options.js";

export const everyOp: ReadonlySet<string> = new Set(book.keys());
export const names = (g: Graph) => g.nodes.map(({ op }) => op.name);
export const node = (g: Graph, op: string, which = 0) =>
  g.nodes.filter((n) => n.op.name === op)[which]!;

/** Marks values as results, which nothing may remove. */
export function keep(...values: Value[]): void {
  for (const { storage } of values) storage.arena = "output";
}

export interface Network {
  g: Graph;
  x: Value;
  norm: (x: Value, options?: Partial<BatchNormOptions>) => Value;
}

export function network(channels = 8): Network {
  const g = new Graph();
  const x = g.input([2, 4, 4, channels]);
  return { g, x, norm: (x, options) => normOf(g, x, options).y };
}

/** Builds, differentiates with respect to x, fuses. */
export function trained(
  build: (n: Network) => Value,
  has = commonOps,
  channels = 8,
): { g: Graph; x: Value; dy: Value } {
  const n = network(channels);
  const y = build(n);
  const dy = n.g.input(y.shape);
  const [dx] = gradient(n.g, y, dy, [n.x]);
  keep(y, dx!);
  fuse(n.g, has);
  prune(n.g);
  return { g: n.g, x: n.x, dy };
}
