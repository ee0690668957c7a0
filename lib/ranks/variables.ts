// Reads the numbers in the variables of engines, and refuses what makes no sense.
import { OnehourError } from "../errors.js";
import {
  type Environment,
  mostRanks,
  readNumber,
  whole,
  wrongVariable,
} from "../system/variables.js";

const advice =
  "these variables come from the launcher, and `env | grep -E 'RANK|SIZE|MASTER|SLURM|PET'` shows them";

/** A whole number of an engine's; `reason` says which other variable bounds it. */
export function read(
  env: Environment,
  name: string,
  least: number,
  most = mostRanks,
  reason?: string,
): number {
  const expected = whole(least, most);
  const words = reason === undefined ? expected.words : `${expected.words} (${reason})`;
  return readNumber(env, name, { ...expected, words }, advice);
}

/** A number that decides only whether others fit it; undefined where it is missing or none. */
export function known(env: Environment, name: string): number | undefined {
  return /^\d{1,6}$/.test(env[name] ?? "") ? Number(env[name]) : undefined;
}

export function problem(text: string, expected: string): OnehourError {
  return wrongVariable(text, expected, advice);
}

/** The error for a place that cannot be meant, or that lacks something. */
export function misplaced(message: string): OnehourError {
  return new OnehourError("ERR_ONEHOUR_ENVIRONMENT", message);
}
