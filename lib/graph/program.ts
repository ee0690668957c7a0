// Program text: steps and a plan to instructions, and these to lines.
import type { ArenaName, Attribute, DataType, Storage, StreamName, Value } from "./graph.js";
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
