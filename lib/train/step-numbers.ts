// The numbers of a step that its update depends on, as an input slot holds them.
import type { StepInput } from "../graph/compile.js";

/** Numbers that a step's update depends on. */
interface StepNumbers {
  /** η */
  lr: number;
  /** c */
  momentumFactor: number;
  /** The share of the step's weights in their moving average, where there is one. */
  emaRate?: number | undefined;
}

/** Writes the numbers of a step into an input slot. */
export function writeNumbers(
  slot: Uint8Array,
  { schedule, ema }: StepInput,
  { lr, momentumFactor, emaRate = 0 }: StepNumbers,
): void {
  const at = (offset: number, count: number) =>
    new Float32Array(slot.buffer, slot.byteOffset + offset, count);
  at(schedule.offset, 2).set([lr, momentumFactor]);
  if (ema) at(ema.offset, 1)[0] = emaRate;
}
