// The CPU's results of an op case: computed now, or read from a bundle that holds them, so that a machine
// with a GPU needs no CPU backend.
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Device } from "#lib/device/device.js";
import { operandBytes } from "#lib/graph/parse.js";
import { type Operand, print } from "#lib/graph/program.js";
import { book } from "#lib/ops/book.js";
import { root } from "../root.js";
import { comparedOf, contentsOf, type OpCase } from "./case.js";
import { load, outputsOf, type Placement, place, runPlaced } from "./placement.js";

/** Each instruction of a case as the CPU computes it, in one part or several. */
function partsOf(opCase: OpCase): Placement[][] {
  return comparedOf(opCase).map((instruction, i) =>
    (book.get(instruction.op)?.expand?.(instruction) ?? [instruction]).map((part, j) =>
      place(`line-${i}-${j}`, part),
    ),
  );
}

/** What a case's instructions write, to be asked for one after the other. */
export interface Expected extends Disposable {
  /** Puts the results of the next instruction into the case's arenas. */
  advance(): Promise<void>;
}

type PartOutputs = (part: Placement) => Uint8Array[] | Promise<Uint8Array[]>;

function following(
  opCase: OpCase,
  parts: Placement[][],
  outputs: PartOutputs,
): () => Promise<void> {
  let next = 0;
  return async () => {
    for (const part of parts[next++]!) {
      const results = await outputs(part);
      for (const [i, operand] of part.instruction.outputs.entries())
        contentsOf(opCase, operand).set(results[i]!);
    }
  };
}

/** Computed on a device, the CPU. */
export async function computed(opCase: OpCase, reference: Device): Promise<Expected> {
  const parts = partsOf(opCase);
  const executor = await load(reference, parts.flat());
  const contents = (operand: Operand) => contentsOf(opCase, operand);
  const outputs: PartOutputs = async (part) =>
    outputsOf(part, (await runPlaced(executor, part, contents)).after);
  return {
    advance: following(opCase, parts, outputs),
    [Symbol.dispose]: () => executor.dispose(),
  };
}

/** Where scripts/bundle puts the results of cases, by name. */
const folder = join(root, "op-data");

/** The name of a case's results: equal programs of equal cases have equal ones. */
export function dataName({ name, program }: OpCase): string {
  return createHash("sha256").update(name).update("\n").update(print(program)).digest("hex");
}

/** Read from the bundle's data; undefined where a case is not part of it. */
export function recorded(opCase: OpCase, from = folder): Expected | undefined {
  const file = join(from, dataName(opCase));
  if (!existsSync(file)) return undefined;
  const bytes = readFileSync(file);
  let offset = 0;
  const outputs: PartOutputs = ({ instruction }) =>
    instruction.outputs.map((operand) => {
      const start = offset;
      offset += operandBytes(operand);
      return bytes.subarray(start, offset);
    });
  return { advance: following(opCase, partsOf(opCase), outputs), [Symbol.dispose]: () => {} };
}

/** All results of a case, computed on a device, as `recorded` reads them. */
export async function resultsOf(opCase: OpCase, reference: Device): Promise<Uint8Array> {
  using expected = await computed(opCase, reference);
  const results: Uint8Array[] = [];
  for (const parts of partsOf(opCase)) {
    await expected.advance();
    for (const { instruction } of parts)
      results.push(...instruction.outputs.map((operand) => contentsOf(opCase, operand).slice()));
  }
  return Buffer.concat(results);
}
