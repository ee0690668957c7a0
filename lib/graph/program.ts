// Program text: steps and a plan to lines, and lines back to instructions.
import { OnehourError } from "../errors.js";
import {
  type ArenaName,
  type Attribute,
  type DataType,
  elementBytes,
  elements,
  type Storage,
  type StreamName,
  type Value,
} from "./graph.js";
import type { Step } from "./overlap.js";
import type { Plan } from "./plan.js";
import { operandNames } from "./signature.js";

export interface Operand {
  name: string;
  arena: ArenaName;
  /** Bytes from the arena's start, for input and output from the slot's. */
  offset: number;
  dtype: DataType;
  shape: number[];
}

export interface Instruction {
  stream: StreamName;
  op: string;
  attributes: Record<string, string>;
  inputs: Operand[];
  outputs: Operand[];
  comment: string;
}

export interface Arena {
  name: ArenaName;
  /** Of one slot. */
  bytes: number;
  slots: number;
}

export interface Program {
  name: string;
  arenas: Arena[];
  instructions: Instruction[];
}

const HEADER = "onehour-program 1";
const streams: readonly string[] = ["compute", "comm", "statistics"];
const arenaNames: readonly string[] = [
  "param",
  "weight",
  "grad",
  "state",
  "input",
  "output",
  "temp",
] satisfies ArenaName[];

/** Bytes of an operand. */
export function operandBytes({ shape, dtype }: Pick<Operand, "shape" | "dtype">): number {
  return elements(shape) * elementBytes[dtype];
}

function attributeText(value: Attribute): string {
  return typeof value === "object" ? value.join(",") : String(value);
}

/** The instructions of a program: every value resolved to its bytes. */
export function emit(
  name: string,
  steps: readonly Step[],
  plan: Pick<Plan, "offsets" | "bytes">,
  arenas: readonly Arena[],
): Program {
  const offsetOf = (storage: Storage) =>
    storage.arena === "temp" ? plan.offsets.get(storage)! : storage.offset;
  const operands = (names: string[], values: Record<string, Value>): Operand[] =>
    names.flatMap((operand) => {
      const value = values[operand];
      if (value === undefined) return [];
      const { dtype, shape, storage } = value;
      const { arena } = storage;
      return [{ name: operand, arena, offset: offsetOf(storage), dtype, shape: [...shape] }];
    });
  return {
    name,
    arenas: [...arenas, { name: "temp", bytes: plan.bytes, slots: 1 }],
    instructions: steps.map((step) => {
      if (step.kind !== "node")
        return {
          stream: step.stream,
          op: step.kind,
          attributes: { event: String(step.event) },
          inputs: [],
          outputs: [],
          comment: "",
        };
      const { op, stream, attributes, inputs, outputs, label } = step.node;
      const names = operandNames(op);
      return {
        stream,
        op: op.name,
        attributes: Object.fromEntries(
          Object.entries(attributes).map(([key, value]) => [key, attributeText(value)]),
        ),
        inputs: operands(names.inputs, inputs),
        outputs: operands(names.outputs, outputs),
        comment: label,
      };
    }),
  };
}

function operandText({ name, arena, offset, dtype, shape }: Operand): string {
  return `${name}=${arena}+${offset}:${dtype}[${shape.join(",")}]`;
}

/** The text that the native core loads, one instruction a line. */
export function print(program: Program): string {
  const lines = [HEADER, `name ${program.name}`];
  for (const { name, bytes, slots } of program.arenas)
    lines.push(`arena ${name} ${bytes}${slots > 1 ? ` slots=${slots}` : ""}`);
  for (const { stream, op, attributes, inputs, outputs, comment } of program.instructions) {
    const words = [stream, op, ...Object.entries(attributes).map(([key, v]) => `${key}=${v}`)];
    if (inputs.length + outputs.length > 0)
      words.push("|", ...inputs.map(operandText), "->", ...outputs.map(operandText));
    if (comment !== "") words.push("#", comment);
    lines.push(words.join(" "));
  }
  return `${lines.join("\n")}\n`;
}

function parseOperand(text: string): Operand {
  const match = /^([a-z0-9-]+)=([a-z]+)\+(\d+):([a-z0-9]+)\[([\d,]*)\]$/.exec(text);
  if (match === null) throw new Error(`expected name=arena+offset:dtype[dims], got "${text}"`);
  const [, name = "", arena = "", offset = "", dtype = "", sizes = ""] = match;
  if (!arenaNames.includes(arena)) throw new Error(`unknown arena "${arena}"`);
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

/**
 * Reads a program text back, for tools and tests; the native core has its own, stricter parser.
 *
 * @throws OnehourError ERR_ONEHOUR_PROGRAM quoting the line that is malformed
 */
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
        if (match === null || !arenaNames.includes(match[1] ?? ""))
          throw new Error("expected arena NAME BYTES [slots=N]");
        const [, name, bytes, slots = "1"] = match;
        program.arenas.push({
          name: name as ArenaName,
          bytes: Number(bytes),
          slots: Number(slots),
        });
      } else program.instructions.push(parseInstruction(line));
    } catch (cause) {
      throw new OnehourError(
        "ERR_ONEHOUR_PROGRAM",
        `line ${i + 1}: ${(cause as Error).message}: ${line}`,
        { cause },
      );
    }
  });
  return program;
}
