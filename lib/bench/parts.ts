// What a training step is made of: the time of its update, its operations, and when each bucket of its
// gradients is complete.

import { operandBytes } from "../graph/parse.js";
import type { Instruction, Program } from "../graph/program.js";
import { beginsUpdate } from "../graph/update.js";
import { workOf } from "./traffic.js";

/** Parts of a step whose collectives are left out, in seconds from its begin. */
export interface StepParts {
  /** All instructions, one after the other. */
  seconds: number;
  /** Those of the update, from its first on. */
  update: number;
  /** What is summed over the ranks, in the order of the program, and when it is there. */
  buckets: { bytes: number; ready: number }[];
  /** Floating-point operations of convolutions and products, a multiply-add being two. */
  operations: number;
}

export const communicates = ({ attributes }: Instruction): boolean => "communicator" in attributes;

/** The line of a program's first instruction in its text. */
export const firstLine = ({ arenas }: Program): number => arenas.length + 3;

/**
 * Parts of a step of several ranks, from the times of its instructions in a run without the collectives.
 *
 * @param step with its collectives, each directly after what completes the bucket that it sums
 * @param milliseconds by line of the same program without them
 */
export function partsOf(step: Program, milliseconds: ReadonlyMap<number, number>): StepParts {
  const parts: StepParts = { seconds: 0, update: 0, buckets: [], operations: 0 };
  let line = firstLine(step);
  let isUpdate = false;
  for (const instruction of step.instructions) {
    if (communicates(instruction)) {
      const bytes = instruction.inputs.reduce((sum, x) => sum + operandBytes(x), 0);
      parts.buckets.push({ bytes, ready: parts.seconds });
      continue;
    }
    const seconds = (milliseconds.get(line) ?? 0) / 1000;
    line += 1;
    parts.seconds += seconds;
    isUpdate ||= beginsUpdate(instruction);
    if (isUpdate) parts.update += seconds;
    parts.operations += workOf(instruction).operations;
  }
  return parts;
}
