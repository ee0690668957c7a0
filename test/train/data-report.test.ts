// Reports on the data at an epoch's end: the damaged images of all ranks, and why steps waited.
import { expect, test } from "vitest";
import type { ImageDecoder, Timing } from "../../lib/data/images/image-decoder.js";
import { Inspection } from "../../lib/data/images/inspection.js";
import { alone, type World } from "../../lib/ranks/world.js";
import { DataReport } from "../../lib/train/data-report.js";
import { worldOf } from "../support/world.js";

const inspection = (timing: Partial<Timing> = {}) =>
  new Inspection(false, {
    timing: { images: 1000, readSeconds: 0.1, decodeSeconds: 1.5, ...timing },
  } as ImageDecoder);

const gather = async (met: Inspection, wait: number, world: World = alone) =>
  (await new DataReport(met, world).gather(wait)).lines;

test("reports nothing of data that is whole and fast", async () => {
  expect(await gather(inspection(), 0.04)).toEqual([]);
});

test("damaged images are named once, ten of them, and counted", async () => {
  const met = inspection();
  const flaw = { image: 0, lost: true, reason: "no" };
  for (let i = 0; i < 12; i++) met.note(`a/${i}.jpg`, flaw);
  const report = new DataReport(met, alone);
  const { lines } = await report.gather(0);
  expect(lines.length).toBe(11);
  expect(lines[0]).toBe("warning: a/0.jpg cannot be decoded (no)");
  expect(lines[10]).toBe("warning: 12 images were damaged so far; the first 10 were named");
  met.note("a/3.jpg", flaw);
  expect((await report.gather(0)).lines).toEqual([]);
  met.note("a/12.jpg", flaw);
  expect((await report.gather(0)).lines).toEqual([
    "warning: 13 images were damaged so far; the first 10 were named",
  ]);
});

test.each([
  [
    { readSeconds: 8 },
    /reading an image takes 8\.0 ms and decoding it 1\.5 ms; the disk or the network/,
  ],
  [{ decodeSeconds: 4 }, /decoding it 4\.0 ms; decoding is slow: give each worker more cores/],
])("names the reason why a run waits for input: %j", async (timing, expected) => {
  const [line] = await gather(inspection(timing), 0.3);
  expect(line).toMatch(/^steps waited 30% of the time for input \(rank 0\)/);
  expect(line).toMatch(expected);
});

test("repeats it only after an epoch that did not wait", async () => {
  const report = new DataReport(inspection(), alone);
  const said: number[] = [];
  for (const wait of [0.3, 0.2, 0, 0.4]) said.push((await report.gather(wait)).lines.length);
  expect(said).toEqual([1, 0, 0, 1]);
});

test("counts an image of two ranks once, and names the rank that waited longest", async () => {
  const flawed = [{ path: "x", text: "x is damaged" }];
  const world = worldOf({
    gather: async (_, own) =>
      [0.1, 0.5].map((wait) => JSON.stringify({ ...JSON.parse(own), wait, flawed })),
  });
  const { wait, lines } = await new DataReport(inspection(), world).gather(0.1);
  expect(wait).toBe(0.5);
  expect(lines).toEqual([
    "warning: x is damaged",
    expect.stringMatching(/50% of the time for input \(rank 1\)/),
  ]);
});
