// Documents the fields of the table, for editors and for the help of the command.
import type { Field } from "./field.js";
import { defaultOf, type FieldName, table } from "./table.js";

const shortest = 1e-3; // numbers below it are written with an exponent

/** The default of a field as text; undefined where there is none. */
export function defaultText(row: Field): string | undefined {
  const value = row.otherwise ?? defaultOf(row);
  if (value === undefined) return undefined;
  return typeof value === "number" && value > 0 && value < shortest
    ? value.toExponential()
    : String(value);
}

/** One paragraph on a field: what it is, its default, its flag. */
export function documentation(name: FieldName): string {
  const row: Field = table[name];
  const { help, flag, onResume } = row;
  const value = defaultText(row);
  const sentences = [
    `${help[0]!.toUpperCase()}${help.slice(1)}.`,
    ...(value === undefined ? [] : [`Default: ${value}.`]),
    ...(onResume === true ? ["May change when a run is resumed."] : []),
    ...(onResume === "together"
      ? ["May change when a run is resumed, as long as workers × accumulate stays."]
      : []),
    ...(flag.startsWith("-") ? [`On the command line \`${flag}\`.`] : []),
  ];
  return sentences.join(" ");
}
