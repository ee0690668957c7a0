// Overlap of communication and computation: gradient buckets, their all-reduce as soon as they are
// complete, and the events between streams.
import type { Graph, Node, Storage, StreamName, Value } from "./graph.js";

/** Bytes at which a bucket is closed: a small first one starts the network early. */
const FIRST_BUCKET = 1 << 20;
const BUCKET = 25 << 20;

/**
 * Cuts tensors that lie one after the other into buckets: the first of at most 1 MiB, the others of
 * at most 25 MiB, each of at least one tensor.
 *
 * @param sizes bytes of each tensor with its padding
 * @returns for each bucket the number of tensors
 */
export function cutBuckets(sizes: readonly number[]): number[] {
  const counts: number[] = [];
  let count = 0;
  let bytes = 0;
  for (const size of sizes) {
    if (count > 0 && bytes + size > (counts.length === 0 ? FIRST_BUCKET : BUCKET)) {
      counts.push(count);
      count = 0;
      bytes = 0;
    }
    count += 1;
    bytes += size;
  }
  return count > 0 ? [...counts, count] : counts;
}

/** Inserts `node` directly after the last node that writes one of `values`. */
export function insertAfterWriters(graph: Graph, node: Node, values: readonly Value[]): void {
  const writers = new Set(values.map((value) => value.node));
  const last = graph.nodes.findLastIndex((candidate) => writers.has(candidate));
  graph.nodes.splice(last + 1, 0, node);
}

/** One line of a program: an op, or an event between streams. */
export type Step =
  | { kind: "node"; stream: StreamName; node: Node }
  | { kind: "signal" | "wait"; stream: StreamName; event: number };

function overlaps(a: Storage, b: Storage): boolean {
  if (a === b) return true;
  return (
    a.arena === b.arena &&
    a.arena !== "temp" &&
    a.offset < b.offset + b.bytes &&
    b.offset < a.offset + a.bytes
  );
}

function storagesOf(values: Record<string, Value>): Storage[] {
  return Object.values(values).map((value) => value.storage);
}

/** Whether the order of two nodes matters: one writes what the other touches. */
function conflict(a: Node, b: Node): boolean {
  const touch = (x: Storage[], y: Storage[]) => x.some((s) => y.some((t) => overlaps(s, t)));
  const [ai, ao, bi, bo] = [a.inputs, a.outputs, b.inputs, b.outputs].map(storagesOf) as [
    Storage[],
    Storage[],
    Storage[],
    Storage[],
  ];
  return touch(ao, bi) || touch(ai, bo) || touch(ao, bo);
}

/** For each other stream the position of its last step known to be finished. */
type Clock = Partial<Record<StreamName, number>>;

function merge(into: Clock, from: Clock): void {
  for (const [stream, position] of Object.entries(from) as [StreamName, number][])
    into[stream] = Math.max(into[stream] ?? -1, position);
}

/**
 * Places events so that nodes on different streams that touch the same bytes run in the order of the
 * list, with no event where an earlier one says enough. Other streams begin after the program's start
 * on `compute`, and `compute` ends after all of them: programs follow one another.
 */
export function synchronize(nodes: readonly Node[]): Step[] {
  const byStream = new Map<StreamName, number[]>();
  const clocks = new Map<StreamName, Clock>([["compute", {}]]);
  const events = new Map<number, { event: number; clock: Clock }>();
  const waits = new Map<number, number[]>();
  const after: Clock[] = [];
  const START = -1;

  const signal = (position: number, clock: Clock) => {
    let event = events.get(position);
    if (event === undefined) {
      event = { event: events.size, clock };
      events.set(position, event);
    }
    return event;
  };
  const waitFor = (position: number, at: number, stream: StreamName) => {
    const from = position === START ? "compute" : nodes[position]!.stream;
    const clock = { ...(after[position] ?? {}), [from]: position };
    const { event } = signal(position, clock);
    const list = waits.get(at);
    if (list) list.push(event);
    else waits.set(at, [event]);
    merge(clocks.get(stream)!, clock);
  };

  nodes.forEach((node, i) => {
    const { stream } = node;
    if (!clocks.has(stream)) clocks.set(stream, {});
    const clock = clocks.get(stream)!;
    for (const [other, positions] of byStream) {
      if (other === stream) continue;
      const known = clock[other] ?? -1;
      for (let p = positions.length - 1; p >= 0 && positions[p]! > known; p--)
        if (conflict(nodes[positions[p]!]!, node)) {
          waitFor(positions[p]!, i, stream);
          break;
        }
    }
    if (stream !== "compute" && clock.compute === undefined) waitFor(START, i, stream);
    after[i] = { ...clock };
    const positions = byStream.get(stream);
    if (positions) positions.push(i);
    else byStream.set(stream, [i]);
  });
  for (const [stream, positions] of byStream) {
    const last = positions.at(-1)!;
    if (stream !== "compute" && (clocks.get("compute")![stream] ?? -1) < last)
      waitFor(last, nodes.length, "compute");
  }

  const steps: Step[] = [];
  const signalAt = (position: number, stream: StreamName) => {
    const event = events.get(position)?.event;
    if (event !== undefined) steps.push({ kind: "signal", stream, event: numbered(event) });
  };
  // Events are numbered in the order of the text.
  const numbers = new Map<number, number>();
  const numbered = (event: number) => {
    if (!numbers.has(event)) numbers.set(event, numbers.size);
    return numbers.get(event)!;
  };
  signalAt(START, "compute");
  for (let i = 0; i <= nodes.length; i++) {
    const node = nodes[i];
    const stream = node?.stream ?? "compute";
    for (const event of waits.get(i) ?? [])
      steps.push({ kind: "wait", stream, event: numbered(event) });
    if (node === undefined) break;
    steps.push({ kind: "node", stream, node });
    signalAt(i, stream);
  }
  return steps;
}
