// Collectives between ranks: all-reduce, all-gather, broadcast.
import type { StreamName, Value } from "../graph/graph.js";
import { defineOp } from "../graph/graph.js";
import { cast } from "./elementwise.js";

export const allReduceOp = defineOp<"x">({
  name: "all-reduce",
  signature: "x:f32[...] -> x:f32[...]",
  communicates: true,
});

export const allGatherOp = defineOp<"y">({
  name: "all-gather",
  signature: "x:f32[1,L] -> y:f32[G,L]",
  communicates: true,
});

export const broadcastOp = defineOp<"x">({
  name: "broadcast",
  signature: "x:f32[...] -> x:f32[...]",
  communicates: true,
});

/** A group of ranks: its communicator's name, size and the stream that its collectives run on. */
export interface Group {
  communicator: string;
  size: number;
  stream?: StreamName;
}

/**
 * Sum over the ranks of a group; all ranks get the same bits.
 *
 * @param x f32, any shape, left as it is
 * @throws OnehourError ERR_ONEHOUR_SHAPE
 */
export function allReduce(x: Value, { communicator, stream = "comm" }: Omit<Group, "size">): Value {
  return x.graph.apply(allReduceOp, { x: cast(x, "f32") }, { communicator }, { stream }).x;
}

/**
 * The rows of all ranks of a group, in rank order.
 *
 * @param x f32 [1, L]
 * @returns f32 [size, L]
 * @throws OnehourError ERR_ONEHOUR_SHAPE
 */
export function allGather(x: Value, { communicator, size, stream = "comm" }: Group): Value {
  const options = { sizes: { G: size }, stream };
  return x.graph.apply(allGatherOp, { x }, { communicator }, options).y;
}

/**
 * The contents of rank `root` on every rank.
 *
 * @param x f32, any shape, left as it is
 * @throws OnehourError ERR_ONEHOUR_SHAPE
 */
export function broadcast(
  x: Value,
  { communicator, root = 0, stream = "comm" }: Omit<Group, "size"> & { root?: number },
): Value {
  return x.graph.apply(broadcastOp, { x: cast(x, "f32") }, { communicator, root }, { stream }).x;
}
