// Reads numbers from environment variables: what each may be, and what to try where it is something else.
import { OnehourError } from "../errors.js";
import { shown } from "../text/words.js";

export type Environment = Readonly<Record<string, string | undefined>>;

/** What a variable may hold. */
interface Expected {
  words: string;
  pattern: RegExp;
  least: number;
  most: number;
}

/** A whole number in decimal digits. */
export function whole(least: number, most = Number.MAX_SAFE_INTEGER): Expected {
  const range =
    most === Number.MAX_SAFE_INTEGER ? `of ${least} or more` : `from ${least} to ${most}`;
  return { words: `a whole number ${range}`, pattern: /^\d{1,15}$/, least, most };
}

const positive: Expected = {
  words: "a number above 0",
  pattern: /^\d+(\.\d+)?(e[+-]?\d+)?$/i,
  least: Number.MIN_VALUE,
  most: Number.MAX_VALUE,
};

/** Ranks that a run may have. */
export const mostRanks = 65_536;

/** The variables that a user may set, and what to try instead of a wrong value. */
const settings = {
  ONEHOUR_THREADS: {
    expected: whole(1),
    advice: "unset it for this worker's share of the cores",
  },
  ONEHOUR_GPU: {
    expected: whole(0, 9999),
    advice: "name a GPU by its number, from 0, or unset it to use one a worker",
  },
  ONEHOUR_TIMEOUT: { expected: positive, advice: "unset it to wait for 60 seconds" },
  ONEHOUR_START_TIMEOUT: {
    expected: positive,
    advice: "unset it to wait at the start for 600 seconds",
  },
  ONEHOUR_LOCAL_WORLD_SIZE: {
    expected: whole(1, mostRanks),
    advice: "unset it where no launcher starts this process",
  },
};

export const settingNames = Object.keys(settings) as (keyof typeof settings)[];

/** The value of a setting; undefined where it is not set, or empty. Throws ERR_ONEHOUR_ENVIRONMENT. */
export function readSetting(
  name: keyof typeof settings,
  env: Environment = process.env,
): number | undefined {
  if (env[name] === undefined || env[name] === "") return undefined;
  const { expected, advice } = settings[name];
  return readNumber(env, name, expected, advice);
}

/** How long all may take to come to the start of a run. */
export const startTimeoutSeconds = () => readSetting("ONEHOUR_START_TIMEOUT") ?? 600;

/** The number in a variable. Throws ERR_ONEHOUR_ENVIRONMENT where it is missing or another. */
export function readNumber(
  env: Environment,
  name: string,
  { words, pattern, least, most }: Expected,
  advice: string,
): number {
  const text = env[name];
  const value = text !== undefined && pattern.test(text) ? Number(text) : Number.NaN;
  if (value >= least && value <= most) return value;
  throw wrongVariable(`${name} is ${text === undefined ? "not set" : shown(text)}`, words, advice);
}

/** The error for variables of the environment that cannot be meant. */
export function wrongVariable(problem: string, expected: string, advice: string): OnehourError {
  return new OnehourError("ERR_ONEHOUR_ENVIRONMENT", `${problem}, expected ${expected}; ${advice}`);
}
