/// <reference lib="dom" />
// The page and the pictures of an experiment as a reader sees them in a browser.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { remarkRuns } from "../../lib/experiment/remarks.js";
import { experimentPage, picturesOf } from "../../lib/experiment/report.js";
import { open, shapesOf, textsOf, useBrowser } from "../support/browser.js";
import { temporaryFolder } from "../support/folder.js";
import { paperLike, record, resultOf } from "./made.js";

useBrowser();
const folder = temporaryFolder();

const losses = (by: number) => Array.from({ length: 50 }, (_, i) => 2 - i / 50 + by * (i + 1));
const remarkRecords = Object.keys(remarkRuns).map((run, i) =>
  record(`remark-${run}`, 0, 20, { losses: losses(i * 1e-4) }),
);
const reason = "step 3: the loss is not finite";
const result = resultOf("paper", [
  ...paperLike,
  record("kn-4096-gradual", 3, 90, { status: "diverged", reason }),
  ...remarkRecords,
]);
const page = join(folder, "index.html");
writeFileSync(page, experimentPage(result));

test.each([
  { width: 1280, theme: "light" },
  { width: 1280, theme: "dark" },
  { width: 390, theme: "light" },
  { width: 390, theme: "dark" },
] as const)("the page at $width pixels, $theme, draws all figures and is legible", async (look) => {
  const tab = await open(page, look);
  await tab.click("summary");
  expect(await tab.evaluate(() => document.documentElement.scrollWidth)).toBe(look.width);
  const [figure1, warmups, figure3, ...others] = await shapesOf(tab, look.theme);
  // Figure 1 has one line of its own: that of the paper is grey.
  expect([figure1, warmups, figure3]).toEqual([1, 4, 4]);
  expect(others).toEqual(others.map(() => 2));
  expect(others.length).toBeGreaterThanOrEqual(4);
  const texts = await textsOf(tab);
  const shown = texts.map(({ text }) => text);
  const wanted = ["64k", "9.00 ± 0.10", "23.74 ± 0.09", "4, 1 diverged", reason, result.command];
  expect(wanted.filter((text) => !shown.includes(text))).toEqual([]);
  expect(texts.filter(({ size, contrast }) => size < 12 || contrast < 4.5)).toEqual([]);
});

test("the pictures alone", async () => {
  for (const [name, svg] of Object.entries(picturesOf(result))) {
    const file = join(folder, name);
    writeFileSync(file, svg);
    const tab = await open(file, { theme: "dark" });
    const { root, width, labels } = await tab.evaluate(() => ({
      root: document.documentElement.tagName,
      width: document.documentElement.getBoundingClientRect().width,
      labels: document.querySelectorAll("text").length,
    }));
    expect([root, width]).toEqual(["svg", 720]);
    expect(labels).toBeGreaterThan(8);
  }
});
