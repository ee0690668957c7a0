// Tables that compare runs field by field, what differs first.

import type { Table } from "./page.js";

/** Of a number its first digits: milestones may be thirds of the epochs. */
const itemText = (item: unknown) =>
  String(typeof item === "number" ? Number(item.toPrecision(6)) : item);

function valueText(value: unknown): string | undefined {
  if (value === undefined || value === null) return undefined;
  if (Array.isArray(value)) return value.map(itemText).join(", ");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** What one run has in a table. */
export interface Compared {
  name: string;
  fields: Readonly<Record<string, unknown>>;
}

/** The fields of runs, those first in which they differ; the others are folded, of one run too if `isFolded`. */
export function comparedTables(
  runs: readonly Compared[],
  { isFolded }: { isFolded: boolean },
): Table[] {
  const names = [...new Set(runs.flatMap(({ fields }) => Object.keys(fields)))];
  const differs = (name: string) =>
    new Set(runs.map(({ fields }) => JSON.stringify(fields[name]))).size > 1;
  const row = (name: string, of: readonly Compared[]) => [
    name,
    ...of.map(({ fields }) => valueText(fields[name])),
  ];
  const different = names.filter(differs).map((name) => row(name, runs));
  const alike = names.filter((name) => !differs(name)).map((name) => row(name, runs.slice(0, 1)));
  const areSeveral = runs.length > 1;
  return [
    {
      caption: "What differs",
      head: ["field", ...runs.map(({ name }) => name)],
      rows: different,
    },
    {
      caption: areSeveral ? "The same in all runs" : "All fields",
      head: ["field", "value"],
      rows: alike,
      isFolded: areSeveral || isFolded,
    },
  ].filter(({ rows }) => rows.length > 0);
}
