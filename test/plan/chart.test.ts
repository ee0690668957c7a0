import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { drawingIn } from "../../lib/cli/chart.js";
import { planCharts } from "../../lib/plan/chart.js";
import { paperPlan } from "../../lib/plan/paper.js";
import { pictures } from "../../lib/plan/picture.js";
import { plan } from "../../lib/plan/plan.js";
import { temporaryFolder } from "../support/folder.js";

const folder = temporaryFolder();

const names = (options = paperPlan) =>
  planCharts(plan(options)).map(({ series }) => series.map(({ name }) => name));
const paper = "the paper's P100s, measured";

test("the charts show the forecast between the ideal and what the paper measured", () => {
  const result = plan(paperPlan);
  const [throughput, step, hours] = planCharts(result);
  expect(names()).toEqual([
    ["ideal", "forecast", paper],
    ["ideal", "forecast", paper],
    ["forecast"],
  ]);
  for (const [
    i,
    { workers, seconds, imagesPerSecond, hours: long },
  ] of result.forecasts.entries()) {
    const at = (chart: typeof throughput, series: number) => [
      chart!.series[series]!.x[0]![i],
      chart!.series[series]!.y[i],
    ];
    expect(at(throughput, 0)).toEqual([workers, expect.closeTo((workers * 32) / 0.232, 6)]);
    expect(at(throughput, 1)).toEqual([workers, imagesPerSecond]);
    expect(at(step, 0)).toEqual([workers, 0.232]);
    expect(at(step, 1)).toEqual([workers, seconds]);
    expect(at(hours, 0)).toEqual([workers, long]);
  }
  expect(step!.series[2]).toMatchObject({ x: [[8, 256]], y: [0.232, 0.256] });
  expect(throughput!.series[2]!.y[1]).toBeCloseTo(8192 / 0.256, 6);
});

test("the input's bound is drawn where it binds, and only there", () => {
  const bound = "bound of the input";
  expect(names({ ...paperPlan, imagesPerCore: 100, cores: 5 })[0]).toContain(bound);
  expect(names({ ...paperPlan, imagesPerCore: 100, cores: 50 })[0]).not.toContain(bound);
  const [throughput] = planCharts(plan({ ...paperPlan, imagesPerCore: 100, cores: 5 }));
  const series = throughput!.series.find(({ name }) => name === bound)!;
  expect(series.y[0]).toBeCloseTo(500, 6);
});

test("steps that were measured are points, but not beside steps of several micro-batches", () => {
  const measured = [
    { workers: 1, step: 0.2, exposedCommunication: 0 },
    { workers: 2, step: 0.3, exposedCommunication: 0.1 },
  ];
  const options = { ...paperPlan, profile: { ...paperPlan.profile, measured } };
  const [, step] = planCharts(plan(options));
  expect(step!.series.find(({ name }) => name === "measured with the profile")).toMatchObject({
    kind: "points",
    x: [[1, 2]],
    y: [0.2, 0.3],
  });
  expect(names({ ...options, accumulate: 2 })[1]).not.toContain("measured with the profile");
});

test("images of another size have neither hours nor the paper's points", () => {
  const images = { height: 28, width: 28, channels: 1 };
  const options = { ...paperPlan, profile: { ...paperPlan.profile, images } };
  expect(names(options)).toEqual([
    ["ideal", "forecast"],
    ["ideal", "forecast"],
  ]);
});

test("a file is a picture or a page by its name, in the place of an earlier one", async () => {
  const result = plan(paperPlan);
  const svg = pictures[".svg"]!(result);
  expect(svg.match(/<svg /g)).toHaveLength(4); // one around the three charts
  for (const text of ["Images a second", "Seconds of a step", "one hour", "1,024"])
    expect(svg).toContain(text);
  const html = pictures[".html"]!(result);
  expect(html).toMatch(/^<!doctype html>/i);
  for (const text of ["29.43 h", "50 Gbit/s, 5 us a message", "take less than an hour from"])
    expect(html).toContain(text);
  const file = join(folder, "plan.svg");
  writeFileSync(file, "an earlier one");
  await drawingIn(file, pictures)(result);
  expect(readFileSync(file, "utf8")).toMatch(/^<svg [\s\S]*<\/svg>\n$/);
  expect(readdirSync(folder)).toEqual(["plan.svg"]);
  for (const name of ["out.png", "out", "svg", ""])
    expect(() => drawingIn(name, pictures)).toThrow(/expected a file that ends in \.svg or \.html/);
  expect(() => drawingIn("no/such/out.svg", pictures)).toThrow(/there is no folder "no\/such"/);
});
