// What is said of the data at an epoch's end: damaged images of all ranks, and why steps waited.
import { expect, test } from "vitest";
import { Inspection } from "../../lib/data/inspection.js";
import type { Pictures, Timing } from "../../lib/data/pictures.js";
import { reportData } from "../../lib/train/data-report.js";
import { alone, type Team } from "../../lib/train/team.js";

const inspection = (timing: Partial<Timing> = {}) =>
  new Inspection(false, {
    timing: { pictures: 1000, readSeconds: 0.1, decodeSeconds: 1.5, ...timing },
  } as Pictures);

test("nothing is said of data that is whole and fast", async () => {
  expect(await reportData(inspection(), 0.04, 7, alone)).toEqual([]);
});

test("damaged images are named once, ten of them, and counted", async () => {
  const met = inspection();
  for (let i = 0; i < 12; i++) met.note(`a/${i}.jpg`, { picture: 0, lost: true, reason: "no" });
  const lines = await reportData(met, 0, 7, alone);
  expect(lines.length).toBe(11);
  expect(lines[0]).toBe("warning: a/0.jpg cannot be decoded (no)");
  expect(lines[10]).toMatch(/^warning: 12 images were damaged so far/);
  met.note("a/3.jpg", { picture: 0, lost: true, reason: "no" });
  expect(await reportData(met, 0, 8, alone)).toEqual([]);
});

test.each([
  [
    { readSeconds: 8 },
    /reading an image takes 8\.0 ms and decoding it 1\.5 ms; the disk or the network/,
  ],
  [{ decodeSeconds: 4 }, /decoding it 4\.0 ms; decoding is slow: give each worker more cores/],
])("a run that waits for input is told why: %j", async (timing, expected) => {
  const [line] = await reportData(inspection(timing), 0.3, 7, alone);
  expect(line).toMatch(/^steps waited 30% of the time for input \(rank 0\)/);
  expect(line).toMatch(expected);
});

test("the rank that waited longest is the one told of", async () => {
  const team: Team = {
    ...alone,
    gather: async (_, own) => [
      own,
      JSON.stringify({ ...JSON.parse(own), wait: 0.5, names: ["x"] }),
    ],
  };
  const lines = await reportData(inspection(), 0.1, 7, team);
  expect(lines).toEqual([
    "warning: x",
    expect.stringMatching(/50% of the time for input \(rank 1\)/),
  ]);
});
