// Builds, runs and reads back a small graph in one call, for scripts and tests.
import type { Device, NativeCommunicator } from "../device/device.js";
import { OnehourError } from "../errors.js";
import { emit } from "./emit.js";
import { fuse, prune } from "./fuse.js";
import {
  type ArenaName,
  arenaNames,
  float32FromBf16,
  float32FromF16,
  Graph,
  Value,
} from "./graph.js";
import { synchronize } from "./overlap.js";
import { plan } from "./plan.js";
import { type Arena, print } from "./program.js";

/** f32, bf16 and f16 (converted, exactly) as Float32Array; i32, u8. */
export type TensorData = Float32Array | Int32Array | Uint8Array;

type Results<R> = R extends Value ? TensorData : { [Name in keyof R]: TensorData };

const PROGRAM = "evaluate";

function typed(bytes: Uint8Array, { dtype }: Value): TensorData {
  const { buffer } = Uint8Array.from(bytes);
  switch (dtype) {
    case "f32":
      return new Float32Array(buffer);
    case "i32":
      return new Int32Array(buffer);
    case "bf16":
      return float32FromBf16(new Uint16Array(buffer));
    case "f16":
      return float32FromF16(new Uint16Array(buffer));
    case "u8":
      return new Uint8Array(buffer);
  }
}

/** Gives constants and results their places: what is overwritten lies in `state`. */
function bind(g: Graph, results: readonly Value[]): void {
  const written = new Set(g.nodes.flatMap((n) => Object.values(n.outputs).map((v) => v.storage)));
  const known = new Set(g.constants.map(({ value }) => value.storage));
  const move = (value: Value, arena: ArenaName) => {
    value.storage.offset = g.reserve(arena, value.storage.bytes).offset;
    value.storage.arena = arena;
  };
  for (const { value } of g.constants) move(value, written.has(value.storage) ? "state" : "input");
  for (const value of results) if (value.storage.arena === "temp") move(value, "output");
  for (const node of g.nodes)
    for (const [name, { node: producer, storage }] of Object.entries(node.inputs))
      if (producer === undefined && !known.has(storage))
        throw new OnehourError(
          "ERR_ONEHOUR_GRAPH",
          `[${node.op.name}] ${name} has no contents; make it with g.constant(data, shape)`,
        );
}

const isValueOf = (g: Graph, value: unknown): value is Value =>
  value instanceof Value && value.graph === g;

/** Values by name, as a script returned them. */
function resultsOf(g: Graph, given: unknown): Record<string, Value> {
  const values = Object.entries(Object(given));
  if (values.length > 0 && values.every(([, value]) => isValueOf(g, value))) return Object(given);
  const kind = Array.isArray(given) ? "an Array" : (Object(given).constructor?.name ?? "an object");
  throw new OnehourError(
    "ERR_ONEHOUR_GRAPH",
    "[evaluate] the function returned " +
      `${given === undefined || given === null ? given : kind}; expected a value of the graph that ` +
      "it was given, or an object of such values by name. g.constant(data, shape) makes one",
  );
}

/** The program of a small graph, once constants and `results` have got their places. */
export function programOf(
  g: Graph,
  results: readonly Value[],
  operations: ReadonlySet<string>,
): string {
  bind(g, results);
  fuse(g, operations);
  prune(g);
  const steps = synchronize(g.nodes);
  const memory = plan(steps);
  const arenas = arenaNames
    .filter((name) => name !== "temp")
    .map((name): Arena => ({ name, bytes: g.arenaBytes[name], slots: 1 }));
  return print(emit(PROGRAM, steps, memory, arenas));
}

/**
 * Runs a small graph on a device.
 *
 * @param device from openDevice()
 * @param build makes the graph from constants and returns one value or several by name. A constant
 *   that an op overwrites (running statistics, SGD's w and v) reads back as it is after the run.
 * @param options communicators by name, for graphs with collectives
 * @returns the contents, row-major, in the shape of what `build` returned
 * @throws OnehourError ERR_ONEHOUR_SHAPE from the ops, ERR_ONEHOUR_GRAPH for a value without contents and
 *   for a result that is not the graph's, and what the device throws when it loads and runs the program
 */
export async function evaluate<R extends Value | Readonly<Record<string, Value>>>(
  device: Device,
  build: (g: Graph) => R,
  options: { communicators?: Record<string, NativeCommunicator> } = {},
): Promise<Results<R>> {
  const g = new Graph();
  const result = build(g);
  const single = isValueOf(g, result);
  const values = single ? { result } : resultsOf(g, result);
  const text = programOf(g, Object.values(values), device.operations);
  const executor = await device.load([{ name: PROGRAM, text }], options);
  try {
    for (const { value, bytes: contents } of g.constants)
      if (value.storage.arena === "input") executor.input(0).set(contents, value.storage.offset);
      else await executor.write("state", value.storage.offset, contents);
    await executor.submit(PROGRAM, 0);
    const read: Record<string, TensorData> = {};
    for (const [name, value] of Object.entries(values)) {
      const { arena, offset, bytes: length } = value.storage;
      const contents =
        arena === "state"
          ? await executor.read(arena, offset, length)
          : (arena === "input" ? executor.input(0) : executor.output(0)).subarray(
              offset,
              offset + length,
            );
      read[name] = typed(contents, value);
    }
    return (single ? read.result : read) as Results<R>;
  } finally {
    executor.dispose();
  }
}
