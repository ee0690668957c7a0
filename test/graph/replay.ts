// Replays a program text on symbols instead of numbers, and finds every read of bytes that were not
// written, were reused, or may still be written by another stream.
import { type ArenaName, arenaNames, type StreamName } from "../../lib/graph/graph.js";
import { operandBytes } from "../../lib/graph/parse.js";
import type { Operand, Program } from "../../lib/graph/program.js";
import { book } from "../../lib/ops/book.js";

/** Bytes [start, end) of an arena: part of a symbol, who wrote it, who has read it since. */
interface Segment {
  start: number;
  end: number;
  symbol: number;
  /** Offset of `start` in the symbol's tensor. */
  at: number;
  writer: Access | undefined;
  readers: Access[];
}

interface Access {
  stream: StreamName;
  index: number;
}

/** Numbers for expressions: the same expression has the same number in every replay. */
export class Symbols {
  private readonly numbers = new Map<string, number>();
  /** Bytes of the tensor that a symbol stands for. */
  readonly bytes = new Map<number, number>();

  of(expression: string): number {
    let number = this.numbers.get(expression);
    if (number === undefined) {
      number = this.numbers.size;
      this.numbers.set(expression, number);
    }
    return number;
  }
}

class Memory {
  segments: Segment[] = [];

  /** Segments that lie in [start, end), cut at its ends; `from` is the first one's position. */
  private cut(start: number, end: number): { from: number; to: number } {
    const split = (at: number): number => {
      let low = 0;
      let high = this.segments.length;
      while (low < high) {
        const middle = (low + high) >> 1;
        if (this.segments[middle]!.end <= at) low = middle + 1;
        else high = middle;
      }
      const segment = this.segments[low];
      if (segment && segment.start < at) {
        const rest = {
          ...segment,
          start: at,
          at: segment.at + at - segment.start,
          readers: [...segment.readers],
        };
        segment.end = at;
        this.segments.splice(low + 1, 0, rest);
        return low + 1;
      }
      return low;
    };
    const from = split(start);
    return { from, to: split(end) };
  }

  inside(start: number, end: number): Segment[] {
    const { from, to } = this.cut(start, end);
    return this.segments.slice(from, to);
  }

  put(segment: Segment): void {
    const { from, to } = this.cut(segment.start, segment.end);
    this.segments.splice(from, to - from, segment);
  }
}

export interface Replay {
  /** For each instruction the symbols of what it reads, by operand name. */
  reads: Record<string, number>[];
  /** What is wrong, in words; empty for a sound program. */
  problems: string[];
  /** What each arena holds in the end. */
  memory: Record<ArenaName, { inside(start: number, end: number): Segment[] }>;
}

const end = (operand: Operand) => operand.offset + operandBytes(operand);

/** A tensor that several writers made, or a part of one. */
function composite(parts: Segment[], { dtype, shape }: Operand): string {
  const pieces = parts.map(({ symbol, at, start, end }) => `${symbol}@${at}+${end - start}`);
  return `${pieces}:${dtype}[${shape}]`;
}

function describe(operand: Operand): string {
  return `${operand.name}=${operand.arena}+${operand.offset}`;
}

/** @param symbols shared by replays that are to be compared */
export function replay(program: Program, symbols: Symbols): Replay {
  const problems: string[] = [];
  const memory = Object.fromEntries(arenaNames.map((name) => [name, new Memory()])) as Record<
    ArenaName,
    Memory
  >;
  const sizes = new Map(program.arenas.map(({ name, bytes }) => [name, bytes]));
  // What a program finds: parameters and state, its input, gradients of earlier micro-batches.
  for (const name of ["param", "weight", "grad", "state", "input"] as const)
    memory[name].put({
      start: 0,
      end: sizes.get(name) ?? 0,
      symbol: symbols.of(`initial ${name}`),
      at: 0,
      writer: undefined,
      readers: [],
    });

  const clocks = new Map<StreamName, Map<StreamName, number>>();
  const clockOf = (stream: StreamName) => {
    let clock = clocks.get(stream);
    if (!clock) {
      clock = new Map();
      clocks.set(stream, clock);
    }
    return clock;
  };
  const signals = new Map<string, Map<StreamName, number>>();
  const before = (access: Access, stream: StreamName) =>
    access.stream === stream || (clockOf(stream).get(access.stream) ?? -1) >= access.index;

  const reads = program.instructions.map((instruction, index) => {
    const { stream, op, attributes, inputs, outputs } = instruction;
    const complain = (problem: string) => problems.push(`${index} ${stream} ${op}: ${problem}`);
    if (op === "signal") {
      const event = attributes.event ?? "";
      if (signals.has(event)) complain(`event ${event} is signalled twice`);
      signals.set(event, new Map(clockOf(stream)).set(stream, index));
      return {};
    }
    if (op === "wait") {
      const signal = signals.get(attributes.event ?? "");
      if (!signal) complain(`waits for event ${attributes.event} before its signal`);
      for (const [other, position] of signal ?? [])
        clockOf(stream).set(other, Math.max(clockOf(stream).get(other) ?? -1, position));
      return {};
    }

    for (const operand of [...inputs, ...outputs])
      if (end(operand) > (sizes.get(operand.arena) ?? 0))
        complain(`${describe(operand)} ends beyond its arena`);
    for (const [i, output] of outputs.entries()) {
      for (const other of outputs.slice(i + 1))
        if (overlap(output, other)) complain(`${describe(output)} overlaps ${describe(other)}`);
      for (const input of inputs) {
        if (!overlap(output, input)) continue;
        const exact = output.offset === input.offset && end(output) === end(input);
        const allowed =
          input.name === output.name || book.get(op)?.replaces?.[output.name]?.includes(input.name);
        if (!exact || !allowed) complain(`${describe(output)} overlaps ${describe(input)}`);
      }
    }

    const access = { stream, index };
    const read: Record<string, number> = {};
    for (const operand of inputs) {
      const parts = memory[operand.arena].inside(operand.offset, end(operand));
      let at = operand.offset;
      for (const part of parts) {
        if (part.start !== at) complain(`${describe(operand)} is read before it is written`);
        if (part.writer && !before(part.writer, stream))
          complain(`${describe(operand)} may be read while ${part.writer.index} writes it`);
        part.readers = [...part.readers.filter((r) => r.stream !== stream), access];
        at = part.end;
      }
      if (at !== end(operand)) complain(`${describe(operand)} is read before it is written`);
      const [only] = parts;
      const isWhole =
        parts.length === 1 && only?.at === 0 && symbols.bytes.get(only.symbol) === at - only.start;
      read[operand.name] = isWhole ? only.symbol : symbols.of(composite(parts, operand));
    }
    const call = `${op} ${Object.entries(attributes).join(" ")} ${Object.entries(read).join(" ")}`;
    for (const operand of outputs) {
      for (const part of memory[operand.arena].inside(operand.offset, end(operand)))
        for (const other of [...(part.writer ? [part.writer] : []), ...part.readers])
          if (!before(other, stream))
            complain(`${describe(operand)} may be written while ${other.index} uses it`);
      const symbol = symbols.of(`${call} -> ${operand.name}:${operand.dtype}[${operand.shape}]`);
      memory[operand.arena].put({
        start: operand.offset,
        end: end(operand),
        symbol,
        at: 0,
        writer: access,
        readers: [],
      });
      symbols.bytes.set(symbol, operandBytes(operand));
    }
    return read;
  });

  const last = program.instructions.length - 1;
  for (const [stream] of clocks) {
    const index = program.instructions.findLastIndex(
      (i) => i.stream === stream && i.op !== "signal" && i.op !== "wait",
    );
    if (index >= 0 && !before({ stream, index }, "compute"))
      problems.push(`${last}: the program ends while ${stream} still runs`);
  }
  return { reads, problems, memory };
}

function overlap(a: Operand, b: Operand): boolean {
  return a.arena === b.arena && a.offset < end(b) && b.offset < end(a);
}
