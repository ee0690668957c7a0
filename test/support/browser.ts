// Opens pages in the Chromium that scripts/browser finds. A page that asks for anything outside its file, or reports
// an error, fails the test.
/// <reference lib="dom" />
import { pathToFileURL } from "node:url";
import { type Browser, launch, type Page } from "puppeteer-core";
import { afterAll, beforeAll, expect, onTestFinished } from "vitest";
import { lines, type Theme } from "../../lib/report/palette.js";

let browser: Browser;

/** Starts a browser before the tests of the file and ends it after them. */
export function useBrowser(): void {
  beforeAll(async () => {
    const executablePath = process.env.ONEHOUR_TEST_BROWSER;
    if (!executablePath) throw new Error("no browser is named; run `npm run test:browser`");
    browser = await launch({
      executablePath,
      // As root Chromium has no sandbox.
      args: [
        ...(process.getuid?.() === 0 ? ["--no-sandbox"] : []),
        "--disable-dev-shm-usage",
        "--host-resolver-rules=MAP * ~NOTFOUND",
      ],
      // Only what hangs takes so long.
      timeout: 300_000,
      protocolTimeout: 300_000,
    });
  });
  afterAll(() => browser?.close());
}

/** How many lines, areas and bars of each chart have a color of the palette; symbols do not count. */
export const shapesOf = (tab: Page, theme: Theme = "light") =>
  tab.evaluate(
    (colors) =>
      [...document.querySelectorAll("[data-chart]")].map(
        (chart) =>
          [...chart.querySelectorAll("path:not([transform])")].filter(
            (path) =>
              colors.includes(path.getAttribute("fill")!) ||
              (path.getAttribute("stroke-width") === "2" &&
                colors.includes(path.getAttribute("stroke")!)),
          ).length,
      ),
    lines.map((color) => color[theme]),
  );

export interface Look {
  width?: number;
  theme?: Theme;
}

/** Opens a file; when the test ends the page must have been silent, and is closed. */
export async function open(file: string, { width = 1280, theme = "light" }: Look = {}) {
  const page = await browser.newPage();
  const problems: string[] = [];
  onTestFinished(async () => {
    await page.close();
    expect(problems).toEqual([]);
  });
  page.setDefaultTimeout(300_000);
  page.on("console", (message) => {
    if (["error", "warn"].includes(message.type())) problems.push(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => problems.push(`page: ${error}`));
  await page.setRequestInterception(true);
  page.on("request", (request) => {
    const isLocal = /^(file|data):/.test(request.url());
    if (!isLocal) problems.push(`request: ${request.url()}`);
    void (isLocal ? request.continue() : request.abort());
  });
  await page.setViewport({ width, height: width < 600 ? 844 : 800 });
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: theme }]);
  await page.goto(pathToFileURL(file).href);
  return page;
}

/** A text that is seen: its size in pixels, and its contrast with what lies behind it, as WCAG defines that. */
export interface Text {
  text: string;
  size: number;
  contrast: number;
}

/** All texts of a page that are seen, those of charts too. */
export function textsOf(page: Page): Promise<Text[]> {
  return page.evaluate(() => {
    const parts = (color: string) => color.match(/[\d.]+/g)!.map(Number);
    const luminance = (color: string) =>
      parts(color)
        .slice(0, 3)
        .map((part) => part / 255)
        .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
        .reduce((sum, part, i) => sum + part * [0.2126, 0.7152, 0.0722][i]!, 0);
    const isClear = (color: string) => parts(color)[3] === 0;
    const behind = (element: Element | null): string => {
      if (!element) return "rgb(255, 255, 255)";
      const { backgroundColor } = getComputedStyle(element);
      return isClear(backgroundColor) ? behind(element.parentElement) : backgroundColor;
    };
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const texts: Text[] = [];
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      const text = node.textContent!.trim();
      const element = node.parentElement!;
      if (!text || !element.checkVisibility() || element.closest("script,style,noscript")) continue;
      const { color, fill, fontSize } = getComputedStyle(element);
      const shades = [element instanceof SVGElement ? fill : color, behind(element)]
        .map(luminance)
        .sort((one, other) => other - one);
      const contrast = (shades[0]! + 0.05) / (shades[1]! + 0.05);
      texts.push({ text, size: Number.parseFloat(fontSize), contrast });
    }
    return texts;
  });
}
