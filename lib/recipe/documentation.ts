// Documents the fields of the table, for editors and for the page of all fields.
import { defaultOf, type Field, type FieldName, groups, rows, table } from "./table.js";

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
    ...(onResume ? ["May change when a run is resumed."] : []),
    ...(flag.startsWith("-") ? [`On the command line \`${flag}\`.`] : []),
  ];
  return sentences.join(" ");
}

/** The documentation's table of all fields, in Markdown. */
export function fieldsTable(): string {
  const cell = (text: string) => text.replaceAll("|", "\\|");
  const parts = groups.map((group) => {
    const lines = rows
      .filter(([, row]) => row.group === group)
      .map(([name, row]) => {
        const { flag, help, onResume } = row;
        const value = defaultText(row) ?? "";
        return `| \`${name}\` | \`${cell(flag)}\` | ${cell(help)} | ${cell(value)} | ${onResume ? "yes" : ""} |`;
      });
    const head = "| field | flag | | default | changes on resume |\n|---|---|---|---|---|";
    return `**${group}**\n\n${head}\n${lines.join("\n")}\n`;
  });
  return parts.join("\n");
}
