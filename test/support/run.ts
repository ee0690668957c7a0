// Runs small graphs on the device under test.
import type { NativeCommunicator } from "../../lib/device/device.js";
import { evaluate } from "../../lib/graph/evaluate.js";
import type { DataType, Graph, Value } from "../../lib/graph/graph.js";
import type { Reference } from "../../proof/ops/fixtures.js";
import { deviceOf } from "./device.js";

/** Numbers read back from the device. */
export type Results = Record<string, Float32Array>;

/** Values of a graph as f32 numbers, on the device of a rank. */
export async function run(
  build: (g: Graph) => object,
  communicators: Record<string, NativeCommunicator> = {},
  rank = 0,
): Promise<Results> {
  const graph = (g: Graph) => build(g) as Record<string, Value>;
  return (await evaluate(deviceOf(rank), graph, { communicators })) as Results;
}

/** Puts a tensor of a fixture into a graph. */
export function constant(g: Graph, { data, shape }: Reference, dtype?: DataType): Value {
  return g.constant(data, shape, dtype);
}
