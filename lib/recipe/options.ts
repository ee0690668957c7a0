// The check that a function of the package knows the options that it is given.
import { UsageError } from "../errors.js";
import { shown } from "../text/words.js";
import { meaning } from "./meant.js";

/**
 * Throws ERR_ONEHOUR_USAGE for options of `callee` that are not an object, and for a key that is not among the
 * `known`, with what `hint` says of it or what was probably meant.
 */
export function requireOptions(
  given: object,
  callee: string,
  known: readonly string[],
  hint: (key: string) => string | undefined = () => undefined,
): void {
  const refuse = (problem: string) => new UsageError("ERR_ONEHOUR_USAGE", problem);
  if (Object.prototype.toString.call(given) !== "[object Object]")
    throw refuse(`${callee} takes options, { ${known.join(", ")} }, and not ${shown(given)}`);
  const key = Object.keys(given).find((name) => !known.includes(name));
  if (key === undefined) return;
  const meant = hint(key) ?? meaning(key, known, "fields") ?? `its options are ${known.join(", ")}`;
  throw refuse(`${callee} has no option ${shown(key)}; ${meant}`);
}
