// Some steps of all ranks as a Chrome trace: a process a rank, a thread a stream. The format is Google's "Trace
// Event Format", which Perfetto opens.

import { operandBytes, parse } from "../graph/parse.js";
import type { Instruction, Operand } from "../graph/program.js";
import type { HostRow } from "./step-queue.js";

/** Something that took from `begin` to `end`, in ms of the rank's `performance.now`. */
export interface HostSpan {
  row: HostRow;
  name: string;
  begin: number;
  end: number;
}

/** A program that ran for a step. */
export interface ProgramSpan {
  step: number;
  program: string;
  /** In ms of the rank's `performance.now`. */
  began: number;
  /** Begin and end of each line of the text, in ms from there. */
  times: number[];
}

/** What one rank noted. */
export interface RankTrace {
  host: string;
  /** The rank's `performance.timeOrigin`: ms of its machine's clock. */
  origin: number;
  programs: ProgramSpan[];
  spans: HostSpan[];
}

interface Event {
  name: string;
  cat: string;
  ph: "X";
  /** Microseconds. */
  ts: number;
  dur: number;
  pid: number;
  tid: number;
  args: Record<string, unknown>;
}

/** The rows of a process, by the place that they have in it; further ones are further slots filled at once. */
const rows = ["steps", "compute", "comm", "statistics", "host", "input"];
const inputRow = rows.indexOf("input");

// Perfetto's versions of before 2025 told threads by their tid alone, and pid or tid 0 is the idle task to some.
const pidOf = (rank: number) => rank + 1;
const tidOf = (rank: number, row: number) => 1000 * pidOf(rank) + row;

/** In microseconds: eighths, so that a begin and a duration add up to the end without rounding. */
const microseconds = (ms: number) => Math.round(8000 * ms) / 8;

const operandText = ({ name, dtype, shape }: Operand) => `${name} ${dtype}[${shape.join(",")}]`;

/** What is shown of a line besides when it ran. */
function argumentsOf({ op, attributes, inputs, outputs, comment }: Instruction, line: number) {
  const bytes = [...inputs, ...outputs].reduce((sum, operand) => sum + operandBytes(operand), 0);
  return {
    line,
    ...(comment === "" ? {} : { label: comment }),
    ...(op === "wait" || op === "signal" ? attributes : { bytes }),
    ...(inputs.length > 0 ? { inputs: inputs.map(operandText) } : {}),
    ...(outputs.length > 0 ? { outputs: outputs.map(operandText) } : {}),
  };
}

/** Writes the events of each rank; the programs are the same on all. */
export class ChromeTrace {
  private readonly lines = new Map<
    string,
    { op: string; stream: string; args: { line: number } }[]
  >();

  constructor(programs: readonly { name: string; text: string }[]) {
    for (const { name, text } of programs) {
      const first =
        1 + text.split("\n").findIndex((line) => /^(compute|comm|statistics) /.test(line));
      const instructions = parse(text).instructions;
      this.lines.set(
        name,
        instructions.map((instruction, i) => ({
          op: instruction.op,
          stream: instruction.stream,
          args: argumentsOf(instruction, first + i),
        })),
      );
    }
  }

  /** The whole file, in pieces. */
  *format(ranks: readonly RankTrace[]): Generator<string> {
    // Times begin with the first event. Clocks are subtracted first: a sum with one would be rounded.
    const zero = Math.min(...ranks.map(({ origin }) => origin));
    const first = Math.min(...ranks.map((rank) => rank.origin - zero + beginOf(rank)));
    let separator = '{"displayTimeUnit":"ms","traceEvents":[\n';
    for (const [rank, trace] of ranks.entries()) {
      for (const event of [
        ...this.names(rank, trace),
        ...this.events(rank, trace, trace.origin - zero - first),
      ]) {
        yield `${separator}${JSON.stringify(event)}`;
        separator = ",\n";
      }
    }
    const otherData = { began: new Date(zero + first).toISOString(), ranks: ranks.length };
    yield `\n],"otherData":${JSON.stringify(otherData)}}\n`;
  }

  /** Metadata: what processes and threads are called, and their order. */
  private *names(rank: number, trace: RankTrace) {
    const meta = (name: string, args: object, row = 0) => ({
      ...{ name, ph: "M", pid: pidOf(rank), tid: tidOf(rank, row), args },
    });
    yield meta("process_name", { name: `rank ${rank} (${trace.host})` });
    yield meta("process_sort_index", { sort_index: rank });
    const used = new Set([...this.events(rank, trace, 0)].map(({ tid }) => tid - tidOf(rank, 0)));
    for (const row of [...used].sort((a, b) => a - b)) {
      const name = row <= inputRow ? rows[row] : `input ${row - inputRow + 1}`;
      yield meta("thread_name", { name }, row);
      yield meta("thread_sort_index", { sort_index: row }, row);
    }
  }

  /** `shift`: ms from the rank's clock to the file's. */
  private *events(rank: number, trace: RankTrace, shift: number): Generator<Event> {
    const { programs, spans } = trace;
    const event = (
      place: string | number,
      name: string,
      [begin, end]: readonly [number, number],
      args: object,
    ): Event => {
      const row = typeof place === "number" ? place : rows.indexOf(place);
      const [ts, until] = [begin, end].map((ms) => microseconds(ms + shift)) as [number, number];
      const cat = rows[Math.min(row, inputRow)]!;
      const [pid, tid] = [pidOf(rank), tidOf(rank, row)];
      return { name, cat, ph: "X", ts, dur: until - ts, pid, tid, args: { ...args } };
    };
    // A program's begin is known a little late; it came when the program before had ended.
    let ended = Number.NEGATIVE_INFINITY;
    for (const { step, program, began, times } of programs) {
      const begin = Math.max(began, ended);
      ended = begin + times.reduce((latest, time) => Math.max(latest, time), 0);
      yield event("steps", `step ${step}: ${program}`, [begin, ended], { step, program });
      for (const [i, { op, stream, args }] of this.lines.get(program)!.entries()) {
        const span = [begin + times[2 * i]!, begin + times[2 * i + 1]!] as const;
        yield event(stream, op, span, args);
      }
    }
    // Slots that are filled at once have rows of their own.
    const free: number[] = [];
    for (const { row, name, begin, end } of [...spans].sort((a, b) => a.begin - b.begin)) {
      let place: string | number = row;
      if (row === "input") {
        const found = free.findIndex((until) => until <= begin);
        const slot = found < 0 ? free.length : found;
        free[slot] = end;
        place = inputRow + slot;
      }
      yield event(place, name, [begin, end], {});
    }
  }
}

function beginOf({ programs, spans }: RankTrace): number {
  const begins = [...programs.map(({ began }) => began), ...spans.map(({ begin }) => begin)];
  return begins.reduce((least, begin) => Math.min(least, begin), Number.POSITIVE_INFINITY);
}
