// Where the time of a step goes, from when the lines of its programs ran.

import type { Trace } from "../device/device.js";
import { parse } from "../graph/parse.js";
import { beginsUpdate } from "../graph/update.js";

/** Seconds of a step. */
export interface Split {
  /** Forward and backward pass. */
  compute: number;
  /** The stream that computes waits for communication, or sets it off. */
  exposedCommunication: number;
  /** The device has no input. */
  inputWait: number;
  /** What follows on back-propagation: norms of the gradients, the optimizer. */
  update: number;
}

/** What a line's time counts for; undefined where other lines run meanwhile. */
export type LineKind = Exclude<keyof Split, "inputWait"> | undefined;

/** What the lines of a program are, in the order of its text, as a trace has them. */
export function lineKinds(text: string): LineKind[] {
  let isUpdate = false;
  return parse(text).instructions.map((instruction) => {
    const { stream, op } = instruction;
    if (stream !== "compute") return undefined;
    // A signal takes no time of its own, unless the thread that it wakes takes the core.
    if (op === "wait" || op === "signal") return "exposedCommunication";
    isUpdate ||= beginsUpdate(instruction);
    return isUpdate ? "update" : "compute";
  });
}

/**
 * The split of a step over its programs, those of micro-batches and the last. `idle`: seconds in which the
 * device had nothing to do before and between them. What a program waits for before its first line is its
 * input, on its way to the device.
 */
export function splitOf(
  programs: readonly { kinds: readonly LineKind[]; trace: Trace }[],
  idle = 0,
): Split {
  const split: Split = { compute: 0, exposedCommunication: 0, inputWait: idle, update: 0 };
  for (const { kinds, trace } of programs) {
    const first = kinds.findIndex((kind) => kind !== undefined);
    if (first >= 0) split.inputWait += trace.times[2 * first]! / 1000;
    kinds.forEach((kind, i) => {
      if (kind) split[kind] += (trace.times[2 * i + 1]! - trace.times[2 * i]!) / 1000;
    });
  }
  return split;
}
