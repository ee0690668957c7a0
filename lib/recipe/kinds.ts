// The kinds of values that a recipe's fields take, each with the message for any other value.
import { z } from "zod";
import { shown } from "../text/words.js";

const expected = (what: string) => ({
  error: ({ input }: { input?: unknown }) => `expected ${what}, got ${shown(input)}`,
});

/** Whole numbers from `least` on. */
export function whole(least: number, most = Number.MAX_SAFE_INTEGER) {
  const upTo = { error: `expected a whole number up to ${most}` };
  return z
    .int(expected("a whole number"))
    .min(least, expected(`a whole number of ${least} or more`))
    .max(most, upTo);
}

const above0 = expected("a number above 0");
export const positive = z.number(above0).positive(above0);

const from0 = expected("a number of 0 or more");
export const notNegative = z.number(from0).min(0, from0);

const below1 = expected("0 or more and less than 1");
export const fraction = z
  .number(expected("a number from 0 up to but not 1"))
  .min(0, below1)
  .lt(1, below1);

export const flag = z.boolean(expected("true or false"));

export const text = z
  .string(expected("text"))
  .min(1, { error: "expected text, got nothing" })
  .regex(/^[^\0\p{Cs}]*$/u, expected("text that a file's name can hold"));

/** Numbers of 0 or more. */
export const epochList = z.array(notNegative, expected("epochs as numbers"));

/** One of a table's keys. */
export const keyOf = <T extends object>(table: T) =>
  oneOf(Object.keys(table) as [keyof T & string, ...(keyof T & string)[]]);

export const oneOf = <const T extends readonly [string, ...string[]]>(values: T) =>
  z.enum(values, {
    error: ({ input }) => `expected ${values.join(", ")}; got ${shown(input)}`,
  });
