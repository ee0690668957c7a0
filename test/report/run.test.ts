// Checks what a report reads from run folders, damaged and unfinished ones too, and that its page holds it.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { runCharts } from "../../lib/report/run-charts.js";
import { readRun, readRuns } from "../../lib/report/run-data.js";
import { recipeTables, runPage, summaryOf } from "../../lib/report/run-page.js";
import { thin } from "../../lib/report/thin.js";

const root = mkdtempSync(join(tmpdir(), "onehour-report-"));
afterAll(() => rmSync(root, { recursive: true }));

const step = (number: number, loss: number | null = 1) =>
  JSON.stringify({
    ...{ type: "step", step: number, epoch: Math.floor(number / 2), loss, lr: 0.1 },
    ...{ momentumFactor: 1, imagesPerSecond: 8 },
  });
const epoch = (number: number, top1: number) =>
  JSON.stringify({
    ...{ type: "epoch", epoch: number, trainLoss: 1, top1, top5: 1, testLoss: 2, testImages: 10 },
    ...{ inputWait: 0, seconds: 4 },
  });
const end = JSON.stringify({ type: "end", status: "finished", steps: 4, seconds: 8 });

function run(name: string, lines?: readonly string[], recipe: object = {}): string {
  const folder = join(root, name);
  mkdirSync(folder, { recursive: true });
  const fields = { model: "resnet8", dataset: "synthetic", workers: 2, accumulate: 1, batch: 4 };
  writeFileSync(join(folder, "recipe.json"), JSON.stringify({ ...fields, ...recipe }));
  if (lines) writeFileSync(join(folder, "log.jsonl"), lines.map((line) => `${line}\n`).join(""));
  return folder;
}

const whole = [step(0), step(1), epoch(0, 0.25), step(2), step(3), epoch(1, 0.5), end];

describe("readRun", () => {
  it("places lines in epochs, images and seconds", async () => {
    const { steps, epochs, status, minibatch } = await readRun(run("whole", whole));
    expect({ status, minibatch }).toEqual({ status: "finished", minibatch: 8 });
    expect(steps.map((line) => line.epochs)).toEqual([0.5, 1, 1.5, 2]);
    expect(epochs.map(({ images, seconds }) => [images, seconds])).toEqual([
      [16, 4],
      [32, 8],
    ]);
  });

  it("takes the last of a step that is there twice, and counts what it cannot read", async () => {
    const lines = [step(0, 3), step(1, 2), "{ torn", step(1, 5)];
    const { steps, unreadable, status } = await readRun(run("damaged", lines));
    expect(steps.map(({ loss }) => loss)).toEqual([3, 5]);
    expect(unreadable).toBe(1);
    expect(status).toBe("stopped without an end");
  });

  it("knows a running run by its lock", async () => {
    const folder = run("running", [step(0)]);
    writeFileSync(join(folder, "run.lock"), "{}");
    expect((await readRun(folder)).status).toBe("running");
  });

  it("refuses a folder without a run, and a recipe that is none", async () => {
    await expect(readRun(root)).rejects.toThrow(/holds no run \(looked for recipe\.json\)/);
    const folder = run("bad");
    writeFileSync(join(folder, "recipe.json"), "[1]");
    await expect(readRun(folder)).rejects.toThrow(/is not a recipe/);
  });

  it("tells runs of one name apart by their folders, and refuses one run twice", async () => {
    const [a, b] = [run("a/same", whole), run("b/same", whole)];
    expect((await readRuns([a, b])).map(({ name }) => name)).toEqual([a, b]);
    await expect(readRuns([a, `${a}/`])).rejects.toThrow(/named twice/);
  });
});

describe("runPage", () => {
  it("has the figures, and recipe fields that differ first", async () => {
    const runs = await readRuns([run("p", whole), run("q", whole, { batch: 8 })]);
    const [different, alike] = recipeTables(runs.map(summaryOf));
    expect(different!.rows).toEqual([["batch", "4", "8"]]);
    expect(alike!.rows).toContainEqual(["model", "resnet8"]);
    expect(summaryOf(runs[0]!)).toMatchObject({
      top1: 0.5,
      bestTop1Error: 50,
      steps: 4,
      epochs: 2,
    });
    const titles = ["Error", "Loss", "Learning rate", "Throughput"];
    expect(runCharts(runs).map(({ title }) => title)).toEqual(titles);
    expect(runPage(runs)).toContain("What differs");
  });

  it("shows a run without a log, and names that are HTML", async () => {
    const name = `q"'<b>`;
    const html = runPage(await readRuns([run(name, undefined, { model: "</script>" })]));
    expect(html).toContain("no step is logged yet");
    expect(html).not.toContain(name);
    expect(html.match(/<\/script>/g)).toHaveLength(3);
  });
});

describe("thin", () => {
  it("keeps mean and range of each bin; what is not finite is left out, or a gap", () => {
    const y = [1, 3, null, Number.NaN, 5, null, 7];
    expect(thin([[0, 1, 2, 3, 4, 5, 6]], y, 4)).toEqual({
      x: [[1, 3, 5, 6]],
      y: [2, null, 5, 7],
      low: [1, null, 5, 7],
      high: [3, null, 5, 7],
    });
    expect(thin([[]], [])).toEqual({ x: [[]], y: [], low: [], high: [] });
  });
});
