// Parses program text back to instructions, for what looks at programs; the native core has its own, stricter
// parser.
import { type ArenaName, type DataType, elementBytes, elements, type StreamName } from "./graph.js";
import {
  arenaNames,
  type Instruction,
  type Operand,
  type Program,
  streamNames,
} from "./program.js";

const HEADER = "onehour-program 1";
const streams: readonly string[] = streamNames;
const arenas: readonly string[] = arenaNames;

/** Bytes of an operand. */
export function operandBytes({ shape, dtype }: Pick<Operand, "shape" | "dtype">): number {
  return elements(shape) * elementBytes[dtype];
}

function parseOperand(text: string): Operand {
  const match = /^([a-z0-9-]+)=([a-z]+)\+(\d+):([a-z0-9]+)\[([\d,]*)\]$/.exec(text);
  if (match === null) throw new Error(`expected name=arena+offset:dtype[dims], got "${text}"`);
  const [, name = "", arena = "", offset = "", dtype = "", sizes = ""] = match;
  if (!arenas.includes(arena)) throw new Error(`unknown arena "${arena}"`);
  if (!(dtype in elementBytes)) throw new Error(`unknown element type "${dtype}"`);
  const shape = sizes === "" ? [] : sizes.split(",").map(Number);
  return {
    name,
    arena: arena as ArenaName,
    offset: Number(offset),
    dtype: dtype as DataType,
    shape,
  };
}

function parseInstruction(line: string): Instruction {
  const [code = "", comment = ""] = line.split(/ ?# ?(.*)/);
  const [head = "", operands = ""] = code.split(" | ");
  const [stream = "", op = "", ...attributes] = head.split(" ");
  if (!streams.includes(stream)) throw new Error(`unknown stream "${stream}"`);
  const [inputs = "", outputs = ""] = operands.split(/ ?-> ?/);
  const side = (text: string) => text.split(" ").filter(Boolean).map(parseOperand);
  return {
    stream: stream as StreamName,
    op,
    attributes: Object.fromEntries(
      attributes.map((word) => {
        const at = word.indexOf("=");
        if (at < 1) throw new Error(`expected key=value, got "${word}"`);
        return [word.slice(0, at), word.slice(at + 1)];
      }),
    ),
    inputs: side(inputs),
    outputs: side(outputs),
    comment,
  };
}

/** Reads a program text back; throws quoting the line that is malformed. */
export function parse(text: string): Program {
  const program: Program = { name: "", arenas: [], instructions: [] };
  text.split("\n").forEach((line, i) => {
    try {
      if (i === 0) {
        if (line !== HEADER) throw new Error(`expected "${HEADER}"`);
      } else if (line === "" || line.startsWith("#")) {
        return;
      } else if (line.startsWith("name ")) {
        program.name = line.slice(5);
      } else if (line.startsWith("arena ")) {
        const match = /^arena ([a-z]+) (\d+)(?: slots=(\d+))?$/.exec(line);
        if (match === null || !arenas.includes(match[1] ?? ""))
          throw new Error("expected arena NAME BYTES [slots=N]");
        const [, name, bytes, slots = "1"] = match;
        program.arenas.push({
          name: name as ArenaName,
          bytes: Number(bytes),
          slots: Number(slots),
        });
      } else program.instructions.push(parseInstruction(line));
    } catch (cause) {
      throw new Error(`line ${i + 1}: ${(cause as Error).message}: ${line}`, { cause });
    }
  });
  return program;
}
