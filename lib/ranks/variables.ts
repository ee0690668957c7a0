// Reads the numbers in the variables of engines, and refuses what makes no sense.
import type { OnehourError } from "../errors.js";
import {
  type Environment,
  mostRanks,
  readNumber,
  whole,
  wrongVariable,
} from "../system/variables.js";

export const advice =
  "these variables come from the launcher, and `env | grep -E 'RANK|SIZE|MASTER|SLURM|PET'` shows them";

/** A whole number of an engine's. */
export function read(env: Environment, name: string, least: number, most = mostRanks): number {
  return readNumber(env, name, whole(least, most), advice);
}

export function problem(text: string, expected: string): OnehourError {
  return wrongVariable(text, expected, advice);
}
