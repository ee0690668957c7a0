/// <reference lib="dom" />
// Pages as a reader sees them in a browser: drawn without a network, legible wide and narrow, in light and dark, by
// keyboard, and loaded again while the run goes on.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Page as Tab } from "puppeteer-core";
import { describe, expect, test } from "vitest";
import { throughputPage } from "../../lib/bench/throughput-page.js";
import type { Axis, Chart, Series } from "../../lib/report/chart.js";
import { type Page, page } from "../../lib/report/page.js";
import { made } from "../bench/throughput-result.js";
import { onehour } from "../cli/command.js";
import { open, shapesOf, textsOf, useBrowser } from "../support/browser.js";
import { temporaryFolder, writeFiles } from "../support/folder.js";

useBrowser();
const folder = temporaryFolder();

const range = (count: number) => Array.from({ length: count }, (_, i) => i);
const runs = ["runs/256", "runs/8k-with-a-name-that-is-long-enough-to-need-two-lines-on-a-phone"];
const epochs: Axis[] = [{ name: "epochs" }, { name: "images", format: "count" }];

function curve(group: string, name: string, count: number, at: (i: number) => number): Series {
  const y = range(count).map(at);
  const x = [range(count), range(count).map((i) => i * 50_000)];
  return { name, group, x, y };
}

const error: Chart = {
  title: "Error",
  note: "Test error is solid.",
  x: epochs,
  y: { name: "error (%)", scale: "switch" },
  levels: [{ y: 23.6, label: "the paper, 23.60 %" }],
  series: runs.flatMap((run, i) => [
    curve(run, "test", 20, (epoch) => 80 / (epoch + 1) + 20 + i),
    curve(run, "train", 20, (epoch) => 82 / (epoch + 1) + 15 + i),
  ]),
};
const loss: Chart = {
  title: "Loss",
  x: epochs,
  y: { name: "loss", scale: "switch" },
  marks: [{ x: [300, 15_000_000], label: "not a number", group: runs[0]! }],
  series: runs.map((run, i) => {
    const series = curve(run, "loss", 600, (step) => 7 / (step + 1 + i) + Math.sin(step) / 20 + 1);
    const low = series.y.map((value) => value! - 0.1);
    return { ...series, low, high: series.y.map((value) => value! + 0.1), smooth: true };
  }),
};
const split: Chart = {
  title: "Step, split",
  x: epochs,
  y: { name: "time of a step", format: "seconds", min: 0 },
  series: ["compute", "exposed communication", "input wait", "update"].map((name, i) => ({
    ...curve(runs[0]!, name, 50, () => 0.1 / (i + 1)),
    kind: "area",
  })),
};
const bars: Chart = {
  title: "Decoding",
  x: [{ name: "format", labels: ["JPEG", "WebP", "raw"] }],
  y: { name: "images/s", min: 0 },
  series: [{ name: "one core", kind: "bar", x: [[0, 1, 2]], y: [310, 190, 4_100] }],
};

const report: Page = {
  title: "Two runs of ResNet-50",
  subtitle: "1,281,167 images, 90 epochs",
  status: { text: "finished" },
  facts: [{ name: "test error", value: "23.71 %", note: "the paper: 23.74 %" }],
  sections: [
    { title: "Curves", text: ["A paragraph."], charts: [error, loss, split, bars] },
    {
      title: "Figures",
      tables: [
        {
          caption: "At the end",
          head: ["run", "test error", "images", "throughput (images/s)", "seconds a step", "note"],
          rows: runs.map((run) => [run, "23.71 %", 1_281_167, 412.5, 0.62, undefined]),
        },
        {
          caption: "All of the recipe",
          isFolded: true,
          head: ["field", "value"],
          rows: [["learning rate", 0.1]],
        },
      ],
    },
  ],
};

let files = 0;
function written(content: Page): string {
  const file = join(folder, `${files++}.html`);
  writeFileSync(file, page(content));
  return file;
}

/** The texts of the first table, a list a row. */
const rowsOf = (tab: Tab) =>
  tab.$eval("tbody", (body) =>
    [...body.rows].map(({ cells }) => [...cells].map(({ innerText }) => innerText)),
  );

/** The texts of the first chart. */
const chartTextsOf = (tab: Tab) =>
  tab.$eval("[data-chart]", (chart) =>
    [...chart.querySelectorAll("text")].map(({ textContent }) => textContent),
  );

/** Presses Tab until what has the focus matches; fails where nothing does. */
async function tabTo(tab: Tab, selector: string): Promise<void> {
  for (let presses = 0; presses < 40; presses++) {
    await tab.keyboard.press("Tab");
    const isThere = await tab.evaluate(
      (selector) => document.activeElement!.matches(selector),
      selector,
    );
    if (isThere) return;
  }
  throw new Error(`40 times Tab do not lead to ${selector}`);
}

/** What `read` gives once `accept` takes it: a page may be about to change, or to load itself again. */
async function eventually<T>(read: () => Promise<T>, accept: (value: T) => boolean): Promise<T> {
  const deadline = performance.now() + 300_000;
  for (;;) {
    const value = await read().catch(() => undefined);
    if (value !== undefined && accept(value)) return value;
    if (performance.now() > deadline) throw new Error(`still ${JSON.stringify(value)} after 300 s`);
    await sleep(50);
  }
}

describe.each([
  { width: 1280, theme: "light" },
  { width: 1280, theme: "dark" },
  { width: 390, theme: "light" },
  { width: 390, theme: "dark" },
] as const)("at $width pixels, $theme", ({ width, theme }) => {
  test("draws every series, and shows the numbers of its tables", async () => {
    const tab = await open(written(report), { width, theme });
    expect(await shapesOf(tab, theme)).toEqual([4, 2, 4, 3]);
    expect(await chartTextsOf(tab)).toEqual(
      expect.arrayContaining(["error (%)", "epochs", "the paper, 23.60 %"]),
    );
    expect(await rowsOf(tab)).toEqual(
      runs.map((run) => [run, "23.71 %", "1,281,167", "412.5", "0.62", "–"]),
    );
  });

  test("is legible, and no wider than the screen", async () => {
    const tab = await open(written(report), { width, theme });
    await tab.click("summary");
    expect(await tab.evaluate(() => document.documentElement.scrollWidth)).toBe(width);
    const texts = await textsOf(tab);
    expect(texts.length).toBeGreaterThan(80);
    expect(texts.filter(({ size }) => size < 12)).toEqual([]);
    expect(texts.filter(({ contrast }) => contrast < 4.5)).toEqual([]);
    // A name takes a few lines of a table, not one for each letter.
    const height = await tab.$eval("tbody tr:last-child", (row) => row.clientHeight);
    expect(height).toBeLessThan(180);
  });
});

test("follows the reader from light to dark", async () => {
  const tab = await open(written(report));
  await tab.emulateMediaFeatures([{ name: "prefers-color-scheme", value: "dark" }]);
  expect(
    await eventually(
      () => shapesOf(tab, "dark"),
      ([count]) => count === 4,
    ),
  ).toEqual([4, 2, 4, 3]);
});

describe("by keyboard", () => {
  test("hides and shows a run, with the focus to be seen", async () => {
    const tab = await open(written(report));
    await tabTo(tab, "#groups label:nth-child(2) input");
    const outline = await tab.evaluate(() => getComputedStyle(document.activeElement!).outline);
    expect(outline).toMatch(/solid 2px/);
    await tab.keyboard.press("Space");
    expect(await shapesOf(tab)).toEqual([2, 1, 4, 3]);
    await tab.keyboard.press("Space");
    expect(await shapesOf(tab)).toEqual([4, 2, 4, 3]);
  });

  test("hides a series, and neither a run of its name nor that of another chart", async () => {
    const named = { ...error, series: error.series.map((series) => ({ ...series })) };
    for (const series of named.series) if (series.group === runs[0]) series.group = "test";
    const charts = [named, { ...named, title: "Other" }];
    const tab = await open(written({ title: "test", sections: [{ charts }] }));
    await tabTo(tab, ".key input");
    await tab.keyboard.press("Space");
    expect(await shapesOf(tab)).toEqual([2, 4]);
  });

  test("chooses another axis, a logarithmic one, and more smoothing", async () => {
    const tab = await open(written(report));
    await tabTo(tab, "[name=axis]");
    await tab.keyboard.press("ArrowRight");
    expect(await chartTextsOf(tab)).toContain("images");
    const linear = await chartTextsOf(tab);
    await tabTo(tab, "#log");
    await tab.keyboard.press("Space");
    expect(await chartTextsOf(tab)).not.toEqual(linear);
    expect(await shapesOf(tab)).toEqual([4, 2, 4, 3]);
    const lossOf = () => tab.$eval("[data-chart='1']", ({ innerHTML }) => innerHTML);
    const before = await lossOf();
    await tabTo(tab, "#smoothing");
    await tab.keyboard.press("ArrowRight");
    expect(await lossOf()).not.toBe(before);
  });

  test("scrolls a table that is wider than the screen", async () => {
    const tab = await open(written(report), { width: 390 });
    await tabTo(tab, ".scroll");
    await tab.keyboard.press("ArrowRight");
    await eventually(
      () => tab.$eval(".scroll", ({ scrollLeft }) => scrollLeft),
      (left) => left > 0,
    );
  });
});

test("loads itself again while the run goes on, with what the reader chose, and then no more", async () => {
  const running = { ...report, status: { text: "running", isLive: true }, reload: 1 };
  const file = written(running);
  const tab = await open(file);
  expect(await tab.$eval(".status", ({ textContent }) => textContent)).toBe("running");
  await tabTo(tab, "#groups label:nth-child(2) input");
  await tab.keyboard.press("Space");
  await tabTo(tab, "summary");
  await tab.keyboard.press("Enter");
  writeFileSync(file, page(report));
  await eventually(
    () => tab.$eval(".status", ({ textContent }) => textContent),
    (text) => text === "finished",
  );
  expect(
    await eventually(
      () => shapesOf(tab),
      ([count]) => count! > 0,
    ),
  ).toEqual([2, 1, 4, 3]);
  expect(
    await tab.$eval(
      "#groups label:nth-child(2) input",
      (input) => (input as HTMLInputElement).checked,
    ),
  ).toBe(false);
  expect(await tab.$eval("details", ({ open }) => open)).toBe(true);
  const data = await tab.$eval("#data", ({ textContent }) => JSON.parse(textContent!));
  expect(data.reload).toBeUndefined();
});

test("a page of one figure, without a chart", async () => {
  const tab = await open(
    written({ title: "One", facts: [{ name: "k", value: "8" }], sections: [] }),
  );
  const width = await tab.$eval(".facts div", ({ clientWidth }) => clientWidth);
  expect(width).toBeLessThan(400);
});

/** Two runs that differ in their batch, in folders of the names of `runs`. */
function trainedRuns(): string[] {
  const step = { type: "step", loss: 2, lr: 0.1, momentumFactor: 1, imagesPerSecond: 50 };
  const parts = { compute: 1, exposedCommunication: 0.5, inputWait: 0.2, update: 0.1 };
  const epoch = { type: "epoch", trainLoss: 2, trainTop1: 0.5, top5: 1, testLoss: 1, inputWait: 0 };
  const log = range(2).flatMap((epochs) => [
    ...range(3).map((i) => ({ ...step, ...parts, step: 3 * epochs + i, epoch: epochs })),
    { ...epoch, epoch: epochs, top1: 0.6 + epochs / 10, testImages: 10, seconds: 9 },
  ]);
  return runs.map((name, i) => {
    const recipe = { model: "resnet8", dataset: "synthetic", workers: 2, batch: 4 + i };
    writeFiles(join(folder, name), {
      "recipe.json": JSON.stringify(recipe),
      "log.jsonl": log.map((line) => `${JSON.stringify(line)}\n`).join(""),
    });
    return join(folder, name);
  });
}

/** Writes the page of a command into a file. */
async function ofCommand(file: string, ...words: string[]): Promise<void> {
  const { status, stderr } = await onehour([...words, file]);
  expect(status, stderr).toBe(0);
}

test.each<[string, (file: string) => void | Promise<void>, shapes: number[], rows: number]>([
  ["a plan", (file) => ofCommand(file, "plan", "--paper", "--chart"), [1, 1, 1], 9],
  [
    "a report on two runs",
    (file) => ofCommand(file, "report", ...trainedRuns(), "--out"),
    [4, 4, 2, 2, 4, 4],
    1,
  ],
  [
    "a throughput benchmark",
    (file) => writeFileSync(file, throughputPage(made)),
    [1, 8],
    made.results.length,
  ],
])("the page of %s", async (name, write, shapes, rows) => {
  const file = join(folder, `${name}.html`);
  await write(file);
  const tab = await open(file, { width: 390, theme: "dark" });
  expect(await tab.evaluate(() => document.documentElement.scrollWidth)).toBe(390);
  expect(await shapesOf(tab, "dark")).toEqual(shapes);
  expect(await rowsOf(tab)).toHaveLength(rows);
  expect((await textsOf(tab)).filter(({ size, contrast }) => size < 12 || contrast < 4.5)).toEqual(
    [],
  );
});
