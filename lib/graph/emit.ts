// Turns steps and a memory plan into the instructions of a program.
import type { Attribute, Storage, Value } from "./graph.js";
import type { Step } from "./overlap.js";
import type { Plan } from "./plan.js";
import type { Arena, Operand, Program } from "./program.js";
import { operandNames } from "./signature.js";

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
