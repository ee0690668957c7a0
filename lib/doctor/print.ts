// Writes the doctor's report for a person: a verdict in a word and a color, wrapped to the terminal with hanging
// indents, and what is looked at while it takes its time.
import type { MachineEnvironment } from "../system/environment.js";
import { type Paint, paintFor } from "../terminal/color.js";
import { wrap } from "../terminal/columns.js";
import { plural, printable } from "../text/words.js";
import type { Line, Verdict } from "./check.js";

/** Where the report is written. */
export interface Paper {
  /** Characters of a line. */
  columns: number;
  color: Paint;
}

const styles = { good: "green", warning: "yellow", bad: "red" } as const;
const verdictWidth = 9;
const nameWidth = 16;
const fewestColumns = 40;
const mostColumns = 120; // longer lines are hard to read

/** The paper of a stream: a terminal's width, or 100 characters without color in a file. */
export function paperOf(stream: NodeJS.WriteStream): Paper {
  return {
    columns: Math.max(fewestColumns, Math.min(mostColumns, stream.columns ?? 100)),
    color: paintFor(stream, process.env),
  };
}

/** A command is never broken: it is copied as a whole. */
export function lineText({ name, found, verdict, advice }: Line, paper: Paper): string {
  const indent = verdictWidth + nameWidth;
  const first = `${paper.color(styles[verdict], verdict.padEnd(verdictWidth))}${name.padEnd(nameWidth - 1)} `;
  const lines = wrap(printable(found), paper.columns - indent);
  const text = lines.map((line, i) => `${i === 0 ? first : " ".repeat(indent)}${line}\n`).join("");
  if (verdict === "good" || advice === undefined) return text;
  return `${text}${" ".repeat(indent - 2)}${paper.color("bold", `$ ${printable(advice)}`)}\n`;
}

export const sectionText = (title: string, paper: Paper) => `\n${paper.color("bold", title)}\n`;

/** "onehour 0.1.0 (1f2defc), Node v20.20.2, Debian GNU/Linux 12 (bookworm), Linux 6.1.0 x64" */
export function headText(environment: MachineEnvironment): string {
  const { onehour, commit, node, system, kernel, processor } = environment;
  const version = commit === undefined ? onehour : `${onehour} (${commit.slice(0, 7)})`;
  const parts = [`onehour ${version}`, `Node ${node}`, system, kernel, processor];
  return parts.filter(Boolean).join(", ");
}

/** "A run can start. 29 good, 2 warnings, 0 bad" */
export function summaryText(checks: readonly Line[], paper: Paper): string {
  const number = (verdict: Verdict) => checks.filter((line) => line.verdict === verdict).length;
  const [warnings, wrong] = [number("warning"), number("bad")];
  const counts = `${number("good")} good, ${plural(warnings, "warning")}, ${wrong} bad`;
  if (wrong === 0) return `\n${paper.color(styles.good, "A run can start")}: ${counts}.\n`;
  return `\n${paper.color(styles.bad, "A run cannot start")}: ${counts}. Mend what is bad first.\n`;
}
