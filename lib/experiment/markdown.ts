// The report on an experiment in Markdown, with its pictures by the names of their files.
import type { Table } from "../report/page.js";
import { picturesOf, type ReportSection, reportOf } from "./report.js";
import type { ExperimentResult } from "./result.js";

const cellText = (cell: string | number | undefined) =>
  String(cell ?? "–")
    .replaceAll("|", "\\|")
    .replaceAll("\n", " ");
const rowText = (cells: readonly (string | number | undefined)[]) =>
  `| ${cells.map(cellText).join(" | ")} |`;

function tableText({ caption, head, rows, isFolded }: Table): string {
  const lines = [rowText(head), `|${head.map(() => "---|").join("")}`, ...rows.map(rowText)];
  const text = lines.join("\n").replaceAll("|  |", "| |");
  if (isFolded) return `<details><summary>${caption}</summary>\n\n${text}\n\n</details>`;
  return `${caption ? `${caption}:\n\n` : ""}${text}`;
}

function sectionText({ title, text = [], tables = [], picture }: ReportSection, isThere: boolean) {
  return [
    `## ${title}`,
    ...text,
    ...(picture && isThere ? [`![${title}](${picture})`] : []),
    ...tables.map(tableText),
  ];
}

/** The text of a Markdown file. */
export function experimentMarkdown(result: ExperimentResult): string {
  const { title, subtitle, status, sections } = reportOf(result);
  const pictures = picturesOf(result);
  const blocks = sections.flatMap((section) =>
    sectionText(section, section.picture !== undefined && section.picture in pictures),
  );
  return `${[`# ${title}`, `${subtitle}. ${status}.`, ...blocks].join("\n\n")}\n`;
}
