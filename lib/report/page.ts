// Writes a page: one HTML file with charts and tables that needs no network and no other file.

import { createHash } from "node:crypto";
import { type Chart, formats } from "./chart.js";
import { asset, echartsName } from "./charts.js";
import { escapeHtml } from "./look.js";
import type { PageData } from "./page-data.js";
import { style } from "./page-style.js";
import { distinct } from "./series-style.js";
import { firstView } from "./view.js";

export interface Table {
  caption?: string;
  head: readonly string[];
  /** A row a list; numbers stand to the right, and what is undefined is a dash. */
  rows: readonly (readonly (string | number | undefined)[])[];
  /** Whether it is folded until the reader opens it; its caption is then what is seen. */
  isFolded?: boolean;
}

export interface Section {
  title?: string;
  /** Paragraphs; what stands between two backticks is shown as code. */
  text?: readonly string[];
  charts?: readonly Chart[];
  tables?: readonly Table[];
}

export interface Page {
  title: string;
  /** Below the title. */
  subtitle?: string;
  /** Beside the subtitle, for example "running". */
  status?: { text: string; isLive?: boolean };
  /** The figures to see first. */
  facts?: readonly { name: string; value: string; note?: string }[];
  sections: readonly Section[];
  /** Seconds after which it loads itself again, keeping what the reader chose. */
  reload?: number;
}

/** A number as tables show it; texts stay. */
const cellText = (cell: string | number | undefined) =>
  cell === undefined
    ? "–"
    : typeof cell === "string"
      ? cell
      : Number.isInteger(cell)
        ? formats.count(cell)
        : cell.toLocaleString("en-US", { maximumSignificantDigits: 6 });

const isNumeric = (cell: string | number | undefined) =>
  typeof cell === "number" ||
  cell === undefined ||
  /^[−-]?[\d,.]+( ?(%|ms|s|min|h|images\/s))?$/.test(cell);

function tableHtml({ caption, head, rows, isFolded }: Table): string {
  const numeric = head.map((_, i) => rows.every((row) => isNumeric(row[i])));
  const cell = (name: string, text: string, i: number) =>
    `<${name}${numeric[i] ? ' class="number"' : ""}>${escapeHtml(text)}</${name.split(" ")[0]}>`;
  const lines = rows.map(
    (row) =>
      `<tr>${row.map((value, i) => cell(i === 0 ? 'th scope="row"' : "td", cellText(value), i)).join("")}</tr>`,
  );
  const heading = head.map((text, i) => cell('th scope="col"', text, i)).join("");
  const title = caption === undefined ? "" : escapeHtml(caption);
  const table =
    `<div class="scroll" tabindex="0" role="region" aria-label="${title || "table"}"><table>` +
    `${title && !isFolded ? `<caption>${title}</caption>` : ""}` +
    `<thead><tr>${heading}</tr></thead><tbody>${lines.join("")}</tbody></table></div>`;
  return isFolded ? `<details><summary>${title}</summary>${table}</details>` : table;
}

const paragraphHtml = (text: string) => escapeHtml(text).replace(/`([^`]+)`/g, "<code>$1</code>");

function sectionHtml(section: Section, first: number): string {
  const { title, text = [], charts = [], tables = [] } = section;
  const figures = charts.map(
    (chart, i) =>
      `<figure><figcaption><h3>${escapeHtml(chart.title)}</h3>` +
      `${chart.note ? `<p>${escapeHtml(chart.note)}</p>` : ""}</figcaption>` +
      `<div class="key"></div><div class="chart" data-chart="${first + i}" role="img" ` +
      `aria-label="${escapeHtml(`${chart.title}: ${chart.y.name} against ${chart.x[0]!.name}`)}"></div></figure>`,
  );
  return (
    `<section>${title ? `<h2>${escapeHtml(title)}</h2>` : ""}` +
    text.map((paragraph) => `<p>${paragraphHtml(paragraph)}</p>`).join("") +
    (figures.length > 0 ? `<div class="charts">${figures.join("")}</div>` : "") +
    `${tables.map(tableHtml).join("")}</section>`
  );
}

/** Switches of the whole page, where its charts have a use for them; each is an input with a label. */
function controlsHtml(charts: readonly Chart[]): string {
  const axes = charts.find(({ x }) => x.length > 1)?.x ?? [];
  const groups = distinct(charts.flatMap(({ series }) => series.map(({ group }) => group)));
  const parts: string[] = [];
  if (groups.length > 1)
    parts.push(
      `<fieldset class="groups"><legend>Runs</legend><span id="groups"></span></fieldset>`,
    );
  if (axes.length > 1) {
    const choices = axes.map(
      ({ name }, i) =>
        `<label><input type="radio" name="axis" value="${i}"${i === 0 ? " checked" : ""}> ${escapeHtml(name)}</label>`,
    );
    parts.push(`<fieldset><legend>Against</legend>${choices.join("")}</fieldset>`);
  }
  if (charts.some(({ y }) => y.scale === "switch"))
    parts.push(`<label><input type="checkbox" id="log"> logarithmic</label>`);
  if (charts.some(({ series }) => series.some(({ smooth }) => smooth)))
    parts.push(
      `<label>smoothing <input type="range" id="smoothing" min="0" max="0.98" step="0.02" value="${firstView.smoothing}"></label>`,
    );
  return parts.length > 0
    ? `<form class="controls" aria-label="Charts">${parts.join("")}</form>`
    : "";
}

const hashOf = (text: string) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;

/** A script as HTML holds it: nothing in it ends the element. */
const inlined = (script: string) =>
  script.replace(/<\/(script)/gi, "<\\/$1").replaceAll("<!--", "<\\!--");

let scripts: { html: string; hashes: string } | undefined;

/** ECharts and the script of pages, and what lets a page run these two and no other. */
function scriptsOfPages() {
  if (scripts) return scripts;
  const texts = [asset(echartsName), asset("page.js")].map(inlined);
  scripts = {
    html: texts.map((text) => `<script>${text}</script>`).join("\n"),
    hashes: texts.map(hashOf).join(" "),
  };
  return scripts;
}

/**
 * The text of an HTML file that shows charts (as options of `Chart`) and tables, in light and dark, on wide and
 * narrow screens, without any network: `page({ title: "Throughput", sections: [{ charts: [chart], tables: [table] }] })`.
 */
export function page({ title, subtitle, status, facts = [], sections, reload }: Page): string {
  const charts = sections.flatMap((section) => section.charts ?? []);
  let first = 0;
  const body = sections.map((section) => {
    const html = sectionHtml(section, first);
    first += section.charts?.length ?? 0;
    return html;
  });
  const data: PageData = { charts, ...(reload === undefined ? {} : { reload }) };
  const json = JSON.stringify(data).replaceAll("<", "\\u003c");
  const { html, hashes } = scriptsOfPages();
  const policy = `default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src ${hashes}`;
  const cards = facts.map(
    ({ name, value, note }) =>
      `<div><dt>${escapeHtml(name)}</dt><dd>${escapeHtml(value)}${note ? `<small>${escapeHtml(note)}</small>` : ""}</dd></div>`,
  );
  const badge = status
    ? `<p class="status${status.isLive ? " live" : ""}" role="status">${escapeHtml(status.text)}</p>`
    : "";
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${escapeHtml(title)}</title>
<style>${style}</style>
</head>
<body>
<header><h1>${escapeHtml(title)}</h1>${subtitle ? `<p>${escapeHtml(subtitle)}</p>` : ""}${badge}</header>
<main>
${cards.length > 0 ? `<dl class="facts">${cards.join("")}</dl>` : ""}
${controlsHtml(charts)}
<noscript><p>The charts need JavaScript; the tables do not.</p></noscript>
${body.join("\n")}
</main>
<script type="application/json" id="data">${json}</script>
${html}
</body>
</html>
`;
}
