// Draws charts as SVG in Node, without a browser.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import type { Chart } from "./chart.js";
import { legendOf, textWidth } from "./legend.js";
import { optionOf } from "./look.js";
import { lines, tones } from "./palette.js";
import { firstView, type View } from "./view.js";

/** A file of what scripts/page-assets.mjs puts beside the compiled code. */
const assetPath = (name: string) =>
  fileURLToPath(new URL(`../../dist/report/assets/${name}`, import.meta.url));

export const asset = (name: string) => readFileSync(assetPath(name), "utf8");

export const echartsName = "echarts.min.cjs";

interface ECharts {
  setPlatformAPI(platform: { measureText(text: string, font: string): { width: number } }): void;
  init(
    element: null,
    theme: null,
    options: { renderer: "svg"; ssr: true; width: number; height: number },
  ): { setOption(option: object): void; renderToSVGString(): string; dispose(): void };
}

let loaded: ECharts | undefined;

function echarts(): ECharts {
  if (loaded) return loaded;
  loaded = createRequire(import.meta.url)(assetPath(echartsName)) as ECharts;
  loaded.setPlatformAPI({
    measureText: (text, font) => ({ width: textWidth(text, Number(/([\d.]+)px/.exec(font)?.[1])) }),
  });
  return loaded;
}

const pictureOf = (width: number): View => ({ ...firstView, width });

interface Size {
  width: number;
  height: number;
}

/**
 * The picture of a chart as the text of an SVG file, in pixels: `renderSvg(chart, { width: 720, height: 400 })`.
 * It has a background and follows the reader's choice of light or dark. `Chart` has an example.
 */
export function renderSvg(chart: Chart, { width, height }: Size): string {
  const instance = echarts().init(null, null, { renderer: "svg", ssr: true, width, height });
  try {
    instance.setOption(optionOf(chart, pictureOf(width)));
    return instance
      .renderToSVGString()
      .replace(/<svg [^>]*>/, (tag) => `${tag}\n<style>${darkColors}</style>`);
  } finally {
    instance.dispose();
  }
}

/** One picture with charts below one another, each as high as `height` says and its legend needs. */
export function renderColumn(charts: readonly Chart[], { width, height }: Size): string {
  let end = 0;
  const pictures = charts.map((chart) => {
    const size = { width, height: height + legendOf(chart, pictureOf(width)).height };
    const picture = renderSvg(chart, size).replace("<svg ", `<svg y="${end}" `);
    end += size.height;
    return picture;
  });
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${end}" viewBox="0 0 ${width} ${end}">\n` +
    `${pictures.join("\n")}\n</svg>\n`
  );
}

/** Puts the dark colors in the place of the light ones, where the reader prefers them. */
const darkColors = (() => {
  const rules = [...lines, ...Object.values(tones)].map(({ light, dark }) =>
    ["fill", "stroke"].map((name) => `[${name}="${light}"]{${name}:${dark}}`).join(""),
  );
  return `@media (prefers-color-scheme:dark){${rules.join("")}}`;
})();
