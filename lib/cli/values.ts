// Parsers of the command line's values, which refuse with an example of what they take.
import { InvalidArgumentError, Option } from "commander";
import { type OnehourError, UsageError, usageCodes } from "../errors.js";

/** Parses `text` as a whole number of at least `minimum`; commander prefixes the flag's name. */
export function wholeNumber(minimum: number, example: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() === "" || !Number.isSafeInteger(value) || value < minimum)
      throw new InvalidArgumentError(
        `Expected a whole number of at least ${minimum}, for example ${example}.`,
      );
    return value;
  };
}

/** An option that takes one of a few words. */
export function choice(flags: string, description: string, choices: readonly string[]): Option {
  return new Option(flags, description).choices(choices);
}

/** Whether the request itself is wrong, so that no run was tried (exit status 2). */
export function isUsageError(error: OnehourError): boolean {
  return error instanceof UsageError || usageCodes.has(error.code);
}

/** An error for a command line that cannot be meant. */
export function usageError(message: string): OnehourError {
  return new UsageError("ERR_ONEHOUR_USAGE", message);
}
