// The memory plan: which bytes of the `temp` arena each value has, from how long it lives.
import { align, type Node, type Storage, type StreamName } from "./graph.js";
import type { Step } from "./overlap.js";

export interface Plan {
  /** Offset of each temporary storage in the `temp` arena, in bytes. */
  offsets: Map<Storage, number>;
  /** Size of the arena in bytes. */
  bytes: number;
  /** The largest sum of live bytes over the order of instructions: no plan can be smaller. */
  lowerBound: number;
}

interface Block {
  bytes: number;
  /** First and last step at which the bytes are in use, both included. */
  start: number;
  end: number;
  storages: Storage[];
  offset: number;
}

/**
 * For each step on another stream than `compute`, the steps of `compute` between which it may run:
 * the last signal that it has waited for and the first wait that covers it.
 */
function windows(steps: readonly Step[]): [number, number][] {
  const result: [number, number][] = steps.map((_, i) => [i, i]);
  const known = new Map<StreamName, Map<StreamName, number>>();
  const clock = (stream: StreamName) => {
    let map = known.get(stream);
    if (map === undefined) {
      map = new Map();
      known.set(stream, map);
    }
    return map;
  };
  const signals = new Map<number, Map<StreamName, number>>();
  const pending = new Set<number>();
  steps.forEach((step, i) => {
    const { stream } = step;
    if (step.kind === "signal") signals.set(step.event, new Map(clock(stream)).set(stream, i));
    else if (step.kind === "wait")
      for (const [other, position] of signals.get(step.event) ?? [])
        clock(stream).set(other, Math.max(clock(stream).get(other) ?? -1, position));
    else if (stream !== "compute") {
      result[i] = [clock(stream).get("compute") ?? 0, steps.length];
      pending.add(i);
    }
    if (stream === "compute" && step.kind === "wait")
      for (const p of pending)
        if ((clock("compute").get(steps[p]!.stream) ?? -1) >= p) {
          result[p]![1] = i;
          pending.delete(p);
        }
  });
  return result;
}

/** Temporary storages with their lives; one that is overwritten by another op's result joins it. */
function liveBlocks(steps: readonly Step[], inPlace: boolean): Block[] {
  const blocks = new Map<Storage, Block>();
  const window = windows(steps);
  const touches = (node: Node) => [...Object.values(node.inputs), ...Object.values(node.outputs)];
  steps.forEach((step, i) => {
    if (step.kind !== "node") return;
    const [start, end] = window[i]!;
    for (const { storage } of touches(step.node)) {
      if (storage.arena !== "temp") continue;
      const block = blocks.get(storage);
      if (block) {
        block.start = Math.min(block.start, start);
        block.end = Math.max(block.end, end);
      } else
        blocks.set(storage, {
          bytes: align(storage.bytes),
          start,
          end,
          storages: [storage],
          offset: 0,
        });
    }
  });
  if (!inPlace) return [...blocks.values()];
  steps.forEach((step, i) => {
    if (step.kind !== "node" || step.stream !== "compute") return;
    const { op, inputs, outputs } = step.node;
    const pairs = Object.entries(op.replaces ?? {}).flatMap(([output, names]) =>
      names.map((input): [string, string] => [output, input]),
    );
    for (const [output, input] of pairs) {
      const from = inputs[input];
      const to = outputs[output];
      if (from === undefined || to === undefined || from.storage === to.storage) continue;
      const old = blocks.get(from.storage);
      const young = blocks.get(to.storage);
      if (!old || !young || old.bytes !== young.bytes || old.end !== i || young.start !== i)
        continue;
      const elsewhere = Object.entries(inputs).some(
        ([name, value]) => name !== input && value.storage === from.storage,
      );
      if (elsewhere) continue;
      old.end = young.end;
      old.storages.push(...young.storages);
      for (const storage of young.storages) blocks.set(storage, old);
    }
  });
  return [...new Set(blocks.values())];
}

function largestLiveSum(blocks: readonly Block[], steps: number): number {
  const change = new Array<number>(steps + 2).fill(0);
  for (const { start, end, bytes } of blocks) {
    change[start]! += bytes;
    change[end + 1]! -= bytes;
  }
  let live = 0;
  let largest = 0;
  for (const delta of change) {
    live += delta;
    largest = Math.max(largest, live);
  }
  return largest;
}

/** Gives each block in turn the lowest gap that is free during its life; returns the total. */
function place(blocks: readonly Block[]): number {
  const placed: Block[] = [];
  let total = 0;
  for (const block of blocks) {
    let offset = 0;
    let at = 0;
    for (const other of placed) {
      if (other.start > block.end || other.end < block.start) continue;
      if (other.offset >= offset + block.bytes) break;
      offset = Math.max(offset, other.offset + other.bytes);
    }
    block.offset = offset;
    while (at < placed.length && placed[at]!.offset <= offset) at++;
    placed.splice(at, 0, block);
    total = Math.max(total, offset + block.bytes);
  }
  return total;
}

/** Orders in which blocks are placed; the first that reaches the lower bound wins. */
const strategies: readonly ((a: Block, b: Block) => number)[] = [
  (a, b) => b.bytes - a.bytes || b.end - b.start - (a.end - a.start) || a.start - b.start,
  (a, b) => b.end - b.start - (a.end - a.start) || b.bytes - a.bytes,
  (a, b) => b.bytes * (b.end - b.start) - a.bytes * (a.end - a.start) || a.start - b.start,
  (a, b) => a.start - b.start || b.end - a.end,
  (a, b) => b.end - a.end || a.start - b.start,
];

/**
 * Plans the `temp` arena by liveness over the order of steps, offsets found greedily in several
 * orders, the smallest result taken.
 *
 * @param reuse false gives each value its own bytes: the reference against which plans are tested
 */
export function plan(steps: readonly Step[], reuse = true): Plan {
  const blocks = liveBlocks(steps, reuse);
  const lowerBound = largestLiveSum(blocks, steps.length);
  let best = { bytes: Number.POSITIVE_INFINITY, offsets: new Map<Storage, number>() };
  const keep = (bytes: number) => {
    if (bytes >= best.bytes) return;
    const pairs = blocks.flatMap(({ storages, offset }) =>
      storages.map((storage): [Storage, number] => [storage, offset]),
    );
    best = { bytes, offsets: new Map(pairs) };
  };
  if (!reuse) {
    let total = 0;
    for (const block of blocks) {
      block.offset = total;
      total += block.bytes;
    }
    keep(total);
  } else
    for (const strategy of strategies) {
      keep(place([...blocks].sort(strategy)));
      if (best.bytes === lowerBound) break;
    }
  return { ...best, lowerBound };
}
