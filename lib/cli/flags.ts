// Makes the flags of a recipe's fields, of the machines of a run, of a plan and of an experiment from the tables' rows,
// and reads which of them were typed.
import { type Command, Option } from "commander";
import { type ExperimentInput, experimentRows } from "../experiment/options.js";
import { type PlanInput, planRows } from "../plan/options.js";
import {
  type ClusterOptionName,
  type ClusterOptions,
  clusterRows,
} from "../ranks/cluster-options.js";
import { defaultText } from "../recipe/documentation.js";
import type { Field } from "../recipe/field.js";
import type { RecipeInput } from "../recipe/fields.js";
import type { Row } from "../recipe/row.js";
import { type FieldName, kindOf, rows, table } from "../recipe/table.js";
import { flagName } from "../recipe/voice.js";

/** The number of a text, or else the text, which the field's check then refuses. */
function numberOf(text: string): number | string {
  const value = Number(text);
  return text.trim() === "" || Number.isNaN(value) ? text : value;
}

const readers: Record<string, (text: string) => unknown> = {
  number: numberOf,
  array: (text) => (text === "none" ? [] : text.split(",").map(numberOf)),
};

/** The line of help: what the field is, and what it is without the flag. */
function helpOf({ flag, help }: Row, otherwise: string | undefined): string {
  if (flag.startsWith("--no-")) return `without ${help}`;
  return otherwise === undefined || otherwise === "false" ? help : `${help}; default: ${otherwise}`;
}

/** The flag of a row, with its default in words. */
function optionOf(row: Row, otherwise: string | undefined): Option {
  const { type, words } = kindOf(row);
  const option = new Option(
    words.length > 0 ? `${row.flag} <${words.join("|")}>` : row.flag,
    helpOf(row, otherwise),
  );
  const read = readers[type];
  return read ? option.argParser(read) : option;
}

/** The flag of a field, with the default that it has for a command. */
export function flagOf(name: FieldName, otherwise?: string): Option {
  const row: Field = table[name];
  return optionOf(row, otherwise ?? defaultText(row));
}

/** The flag that sets a field of true and false to the other value; undefined for any other field. */
function oppositeOf(name: FieldName): Option | undefined {
  const row: Field = table[name];
  if (kindOf(row).type !== "boolean") return undefined;
  const yes = flagName(name);
  const isNegative = row.flag.startsWith("--no-");
  const option = new Option(isNegative ? yes : yes.replace("--", "--no-"));
  option.description = isNegative ? row.help : `do not ${row.help}`;
  // It is of use where a recipe says otherwise: always, for what may change in a run that is resumed.
  return option.hideHelp(row.onResume !== true);
}

const flagged = rows.filter(([, { flag }]) => flag.startsWith("--"));

/** Adds the flags of all fields, in their groups. */
export function addRecipeFlags(command: Command): Command {
  for (const [name, { group }] of flagged) {
    for (const option of [flagOf(name), oppositeOf(name)])
      if (option) command.addOption(option.helpGroup(`${group}:`));
  }
  return command;
}

/** Adds the flags that say on which machines a run is, but for those that the command has no use for. */
export function addClusterFlags(
  command: Command,
  without: readonly ClusterOptionName[] = [],
): Command {
  for (const [name, row] of clusterRows)
    if (!without.includes(name))
      command.addOption(optionOf(row, row.otherwise).helpGroup("Machines:"));
  return command;
}

/** Adds the flags of a plan. */
export function addPlanFlags(command: Command): Command {
  for (const [, row] of planRows) command.addOption(optionOf(row, row.otherwise));
  return command;
}

/** Adds the flags of an experiment. */
export function addExperimentFlags(command: Command): Command {
  for (const [, row] of experimentRows) command.addOption(optionOf(row, row.otherwise));
  return command;
}

/** The value of a flag that was typed, and nothing that commander fills in. */
function typedValue(command: Command, flag: string): unknown {
  const key = new Option(flag).attributeName();
  return command.getOptionValueSource(key) === "cli" ? command.getOptionValue(key) : undefined;
}

/** The fields of a recipe that were typed. */
export function typedFields(command: Command): RecipeInput {
  const typed = flagged.flatMap(([name, { bare }]) => {
    const value = typedValue(command, flagName(name));
    if (value === undefined) return [];
    return [[name, value === true && bare !== undefined ? bare : value]];
  });
  return Object.fromEntries(typed);
}

/** The values that were typed, by the names of their rows. */
function typedRows(command: Command, rows: readonly [string, Row][]): object {
  const typed = rows.flatMap(([name, { flag }]) => {
    const value = typedValue(command, flag);
    return value === undefined ? [] : [[name, value]];
  });
  return Object.fromEntries(typed);
}

/** What was typed of the machines of a run. */
export const typedCluster = (command: Command): ClusterOptions => typedRows(command, clusterRows);

/** What was typed of a plan. */
export const typedPlan = (command: Command): PlanInput => typedRows(command, planRows);

/** What was typed of an experiment. */
export const typedExperiment = (command: Command): ExperimentInput =>
  typedRows(command, experimentRows);
