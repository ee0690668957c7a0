// Draws charts as SVG in Node, without a browser.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import type { Chart } from "./chart.js";
import { optionOf, plainView } from "./look.js";
import { lines, tones } from "./palette.js";

/** A file of what scripts/page-assets.mjs puts beside the compiled code. */
const assetPath = (name: string) =>
  fileURLToPath(new URL(`../../dist/report/assets/${name}`, import.meta.url));

export const asset = (name: string) => readFileSync(assetPath(name), "utf8");

export const echartsName = "echarts.min.cjs";

interface ECharts {
  init(
    element: null,
    theme: null,
    options: { renderer: "svg"; ssr: true; width: number; height: number },
  ): { setOption(option: object): void; renderToSVGString(): string; dispose(): void };
}

let loaded: ECharts | undefined;

/**
 * The picture of a chart as the text of an SVG file, in pixels: `renderSvg(chart, { width: 720, height: 400 })`.
 * It has a background and follows the reader's choice of light or dark. `Chart` has an example.
 */
export function renderSvg(
  chart: Chart,
  { width, height }: { width: number; height: number },
): string {
  loaded ??= createRequire(import.meta.url)(assetPath(echartsName)) as ECharts;
  const instance = loaded.init(null, null, { renderer: "svg", ssr: true, width, height });
  try {
    instance.setOption(optionOf(chart, plainView));
    return instance
      .renderToSVGString()
      .replace(/<svg [^>]*>/, (tag) => `${tag}\n<style>${darkColors}</style>`);
  } finally {
    instance.dispose();
  }
}

/** Puts the dark colors in the place of the light ones, where the reader prefers them. */
const darkColors = (() => {
  const rules = [...lines, ...Object.values(tones)].map(({ light, dark }) =>
    ["fill", "stroke"].map((name) => `[${name}="${light}"]{${name}:${dark}}`).join(""),
  );
  return `@media (prefers-color-scheme:dark){${rules.join("")}}`;
})();
