// Checks what a report reads from run folders, damaged and unfinished ones too, and that its page holds it.
import { spawnSync } from "node:child_process";
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { runCharts } from "../../lib/report/run-charts.js";
import { readRuns } from "../../lib/report/run-data.js";
import { recipeTables, runPage, summaryOf } from "../../lib/report/run-page.js";
import { runPicture } from "../../lib/report/run-picture.js";
import { styleOf } from "../../lib/report/series-style.js";
import { thin } from "../../lib/report/thin.js";
import { onehour } from "../cli/command.js";

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

const readRun = async (folder: string) => (await readRuns([folder]))[0]!;

const whole = [step(0), step(1), epoch(0, 0.25), step(2), step(3), epoch(1, 0.5), end];

describe("readRuns", () => {
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

  it.each([
    ["as long as no second one has begun", [step(0)], {}, undefined],
    ["once the first has ended", [step(0), step(1), epoch(0, 1)], { steps: 3, epochs: 1.5 }, 2],
    [
      "unless that was the end of the run",
      [step(0), epoch(0, 1)],
      { steps: 1, epochs: 2 },
      undefined,
    ],
    ["unless the run is shorter", [step(0), epoch(0, 1)], { epochs: 0.5 }, undefined],
    ["where steps are missing", [step(3), step(6)], {}, 2],
    ["where no step is left", [epoch(0, 1), epoch(1, 1)], {}, undefined],
  ])("tells the steps of an epoch %s", async (_, lines, recipe, steps) => {
    const one = await readRun(run("epochs", lines, recipe));
    for (const { images, epochs } of [...one.steps, ...one.epochs])
      expect(epochs).toBe(steps && images / 8 / steps);
    const axes = runCharts([one])[0]!.x.map(({ name }) => name);
    const others = ["images", "training time (min)"];
    expect(axes).toEqual(steps === undefined ? others : ["epochs", ...others]);
  });

  it("knows a running run by its lock, and that a process was killed", async () => {
    const folder = run("running", [step(0)]);
    const { pid: gone } = spawnSync("true");
    const host = hostname();
    for (const [lock, status] of [
      [{}, "running"],
      [{ host, pid: process.pid }, "running"],
      [{ host, pid: gone }, "stopped without an end"],
      [{ host: `not-${host}`, pid: gone }, "running"],
    ] as const) {
      writeFileSync(join(folder, "run.lock"), JSON.stringify(lock));
      expect((await readRun(folder)).status, JSON.stringify(lock)).toBe(status);
    }
  });

  it("refuses a folder without a run, and a recipe that is none", async () => {
    await expect(readRun(root)).rejects.toThrow(/holds no run \(looked for recipe\.json\)/);
    const folder = run("bad");
    for (const text of ["[1]", "null", '"a"', "", "{", '{"batch": 0}', '{"workers": "2"}']) {
      writeFileSync(join(folder, "recipe.json"), text);
      await expect(readRun(folder), text).rejects.toThrow(/bad\/recipe\.json is not a recipe \(/);
    }
  });

  it("tells runs of one name apart by their folders, and takes one that is named twice once", async () => {
    const [a, b] = [run("a/same", whole), run("b/same", whole)];
    const runs = await readRuns([a, b, `${a}/`]);
    expect(runs.map(({ name, folder }) => [name, folder])).toEqual([
      ["a/same", a],
      ["b/same", b],
    ]);
  });
});

describe("runPage", () => {
  it("has the figures, and recipe fields that differ first", async () => {
    const milestones = [1 / 3, 2 / 3];
    const [p, q] = [{ milestones }, { milestones, lr: 0.1 + 1e-9, batch: 8 }];
    const runs = await readRuns([run("p", whole, { ...p, lr: 0.1 }), run("q", whole, q)]);
    const [different, alike] = recipeTables(runs.map(summaryOf));
    expect(different!.rows).toEqual([
      ["batch", "4", "8"],
      ["lr", "0.1", "0.100000001"],
    ]);
    expect(alike!.rows).toContainEqual(["model", "resnet8"]);
    expect(alike!.rows).toContainEqual(["milestones", "0.333333, 0.666667"]);
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

  it("shows the moving average and the noise scale of the runs that have them", async () => {
    const add = (line: string, more: object) => JSON.stringify({ ...JSON.parse(line), ...more });
    const lines = [
      ...[step(0), add(step(1), { noiseScale: 30 })],
      add(epoch(0, 0.25), { emaTop1: 0.5, emaTestLoss: 3 }),
      ...[step(2), add(step(3), { noiseScale: 90.4 })],
      add(epoch(1, 0.5), { emaTop1: 0.75, emaTestLoss: 1 }),
    ];
    const runs = await readRuns([run("averaging", lines), run("plain", whole)]);
    const [error, loss, , , noise] = runCharts(runs);
    const averages = [error, loss].map((chart) =>
      chart!.series.filter(({ name }) => name === "test, moving average").map(({ y }) => y),
    );
    expect(averages).toEqual([[[50, 25]], [[3, 1]]]);
    expect(noise).toMatchObject({ title: "Gradient noise scale", y: { name: "images" } });
    expect(noise!.series.map(({ group, y }) => [group, y])).toEqual([
      ["averaging", [null, 30, null, 90.4]],
    ]);
    const [measured, other] = runs.map(summaryOf);
    expect(measured).toMatchObject({ top1: 0.5, emaTop1: 0.75, noiseScale: 90.4 });
    expect(other).not.toHaveProperty("noiseScale");
    const head = (some: typeof runs) => /Result[\s\S]*/.exec(runPage(some))![0];
    expect(head(runs)).toContain("noise scale (images)");
    expect(head(runs.slice(1))).not.toMatch(/noise scale|moving average/);
    expect(runPicture(runs)).toContain("Gradient noise scale");
    expect(runPicture(runs.slice(1))).not.toContain("Gradient noise scale");
  });

  it("gives a run one color, also where another has nothing to draw", async () => {
    const charts = runCharts(await readRuns([run("short", [step(0)]), run("whole", whole)]));
    const [error, loss] = charts.map((chart) => {
      const series = chart.series.find(({ group }) => group === "whole")!;
      return styleOf(chart, series, "light").color;
    });
    expect(charts[0]!.series.map(({ group }) => group)).toEqual(["whole"]);
    expect(error).toBe(loss);
  });

  it("tells 36 runs apart by color and symbol", () => {
    const groups = Array.from({ length: 36 }, (_, i) => `run ${i}`);
    const series = groups.map((group) => ({ name: "test", group, x: [[0]], y: [1] }));
    const chart = { title: "Error", x: [{ name: "epochs" }], y: { name: "error" }, series };
    const styles = series.map((one) => styleOf(chart, one, "light"));
    expect(new Set(styles.map(({ color, symbol }) => `${color} ${symbol}`)).size).toBe(36);
  });

  it("draws what there is as a picture, and says where there is nothing", async () => {
    const [begun, none] = [run("begun", [step(0)]), run("none", [])];
    const picture = runPicture(await readRuns([begun, none]));
    expect(picture).toMatch(/>Loss<.*>Learning rate</s);
    const nothing = await readRuns([none]);
    expect(() => runPicture(nothing)).toThrow(/^no step is logged in .*none, so there is nothing/);
  });

  it("names the first loss that is not finite", async () => {
    const lines = [step(0), step(1, null), step(2), step(3, null)];
    const html = runPage(await readRuns([run("diverged", lines)]));
    expect(html).toContain("diverged: from step 1 on there are losses that are not finite.");
    expect(runPage(await readRuns([run("whole", whole)]))).not.toContain("not finite");
  });

  it("shows a run without a log, and names that are HTML", async () => {
    const name = `q"'<b>`;
    const html = runPage(await readRuns([run(name, undefined, { model: "</script>" })]));
    expect(html).toContain("no step is logged");
    expect(html).not.toContain(name);
    expect(html.match(/<\/script>/g)).toHaveLength(3);
  });
});

describe("onehour report", () => {
  const folder = run("typed", whole);

  it("prints one JSON object, and writes a picture and a page where they are asked for", async () => {
    const [file, picture] = [join(root, "typed.html"), join(root, "typed.svg")];
    const args = ["report", folder, "--json", "--out", file, "--chart", picture];
    const { stdout, stderr, status } = await onehour(args);
    expect({ stderr, status }).toEqual({ stderr: "", status: 0 });
    expect(JSON.parse(stdout)).toEqual({
      runs: [
        {
          ...{ name: "typed", folder, status: "finished", minibatch: 8, steps: 4, epochs: 2 },
          ...{ seconds: 8, top1: 0.5, top5: 1, testLoss: 2, bestTop1Error: 50, unreadableLines: 0 },
          recipe: { model: "resnet8", dataset: "synthetic", workers: 2, accumulate: 1, batch: 4 },
        },
      ],
    });
    expect(readFileSync(file, "utf8")).toMatch(/^<!doctype html>.*<\/html>\n$/s);
    expect(readFileSync(picture, "utf8")).toMatch(/^<svg .*>Error<.*>Loss<.*<\/svg>\n$/s);
    expect(readdirSync(root).filter((name) => name.endsWith(".tmp"))).toEqual([]);
  });

  it("writes where a link leads, which stays one", async () => {
    const [page, link] = [join(root, "page.html"), join(root, "link.html")];
    writeFileSync(page, "");
    symlinkSync(page, link);
    expect((await onehour(["report", folder, "--out", link])).status).toBe(0);
    expect(readFileSync(page, "utf8")).toContain("</html>");
    expect(lstatSync(link).isSymbolicLink()).toBe(true);
  });

  it.each([
    ["--out", "nowhere/page.html", /there is no folder/],
    ["--out", ".", /it is a folder; name a file in it/],
    ["--chart", "page.html", /expected a file that ends in \.svg/],
    ["--chart=both.svg --out", "both.svg", /--chart and --out name the same file/],
  ])("refuses to write %s %s before it reads a run", async (flags, out, problem) => {
    const words = flags.split(" ").map((flag) => flag.replace("=", `=${root}/`));
    const args = ["report", join(root, "no run"), ...words, join(root, out)];
    const { stdout, stderr, status } = await onehour(args);
    expect({ stdout, status }).toEqual({ stdout: "", status: 2 });
    expect(stderr).toMatch(problem);
  });
});

describe("thin", () => {
  it("keeps mean and range of each bin; what is not finite is left out, or a gap", () => {
    const y = [1, 3, null, Number.NaN, 5, null, 7];
    const places = y.map((value, x) => ({ x, value }));
    const [x, of] = [({ x }: (typeof places)[0]) => x, ({ value }: (typeof places)[0]) => value];
    expect(thin(places, [x], of, 4)).toEqual({
      x: [[1, 3, 5, 6]],
      y: [2, null, 5, 7],
      low: [1, null, 5, 7],
      high: [3, null, 5, 7],
    });
    expect(thin([], [x], of)).toEqual({ x: [[]], y: [], low: [], high: [] });
  });
});
