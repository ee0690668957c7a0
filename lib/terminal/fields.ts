// A line of fields that fits a terminal: what finds no room is left out, from the least important field on.
import type { Paint } from "./color.js";
import { fit, width } from "./columns.js";

/** A part of a line. */
export interface Field {
  /** From the longest to the shortest. */
  forms: readonly [string, ...string[]];
  /** 1 is the most important. */
  rank: number;
  /** What follows it, where another does. */
  after?: string;
  /** Colors the form that was taken. */
  color?: (text: string) => string;
}

export const separator = " · ";

/** Cells of a bar, on a wide terminal and on others: its length is to change with nothing else. */
const [wideBar, narrowBar, wide] = [24, 8, 180];

/** A bar for a share from 0 to 1 on a terminal of so many columns; its parts differ without colors too. */
export function barField(share: number, rank: number, columns: number, color: Paint): Field {
  const cells = columns >= wide ? wideBar : narrowBar;
  const full = Math.round(Math.min(1, Math.max(0, share)) * cells);
  return {
    forms: ["━".repeat(full) + "─".repeat(cells - full)],
    rank,
    after: " ",
    color: (text) => text.replace(/━+/, (done) => color("cyan", done)),
  };
}

/** The fields as one line, all of them in their longest form. */
export const wholeLine = (fields: readonly Field[]) => lineOf(fields.map((field) => [field, 0]));

function lineOf(parts: readonly (readonly [Field, number])[]): string {
  return parts
    .map(([{ forms, after = separator, color = String }, form], i) => {
      const text = color(forms[form]!);
      return i < parts.length - 1 ? text + after : text;
    })
    .join("");
}

function columnsOf(parts: ReadonlyMap<Field, number>): number {
  const entries = [...parts];
  const texts = entries.reduce((sum, [{ forms }, form]) => sum + width(forms[form]!), 0);
  const gaps = entries.slice(0, -1);
  return texts + gaps.reduce((sum, [{ after = separator }]) => sum + width(after), 0);
}

/** The fields in at most so many columns. They stand in the order given. */
export function fitFields(fields: readonly Field[], columns: number): string {
  const byRank = [...fields].sort((a, b) => a.rank - b.rank);
  const parts = new Map(fields.map((field) => [field, field.forms.length - 1]));
  while (parts.size > 1 && columnsOf(parts) > columns) parts.delete(byRank.pop()!);
  for (const field of byRank) {
    for (let form = 0; form < field.forms.length; form++) {
      if (columnsOf(new Map(parts).set(field, form)) > columns) continue;
      parts.set(field, form);
      break;
    }
  }
  const [first] = [...parts];
  if (parts.size === 1 && first !== undefined && columnsOf(parts) > columns)
    return fit(first[0].forms.at(-1)!, columns);
  return lineOf([...parts]);
}
