// Writes log.jsonl to a disk that fails, or takes only a part of a line.
import { constants } from "node:buffer";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { beforeEach, expect, test } from "vitest";
import { Log, readLog, rewindLog } from "../../lib/run-folder/log.js";
import type { LogLine } from "../../lib/run-folder/log-lines.js";
import { writeRecipe } from "../../lib/run-folder/run-folder.js";
import { Disk } from "../faults/disk.js";
import { type FileFault, Files, withFaults } from "../faults/files.js";
import { temporaryFolder } from "../support/folder.js";

const folder = temporaryFolder();
let run: string;
beforeEach(async ({ task }) => {
  run = join(folder, task.id);
  mkdirSync(run);
});

const step = (number: number): LogLine => ({
  type: "step",
  step: number,
  epoch: 0,
  loss: 1 / 3,
  lr: 0.1,
  momentumFactor: 1,
  imagesPerSecond: 100,
});
const unsaid = (text: string) => {
  throw new Error(text);
};

/** Runs `work` with a fault on the run folder's files. */
async function under<T>(fault: Partial<FileFault>, work: () => Promise<T>): Promise<T> {
  const whole = {
    kind: "write",
    after: 0,
    times: 1,
    effect: "error",
    code: "EIO",
    share: 0,
  } as const;
  return await withFaults(new Files(run, new Disk(run), [{ ...whole, ...fault }]), work);
}

/** Logs steps 0 to 4 under a fault; returns what was said. */
async function logSteps(fault: Partial<FileFault>): Promise<string[]> {
  const said: string[] = [];
  await rewindLog(run, 0, 10, unsaid);
  await under(fault, async () => {
    const log = new Log(run, (text) => said.push(text));
    for (let i = 0; i < 5; i++) log.write(step(i));
    await log.sync();
    log.close();
  });
  return said;
}

test("a log that is longer than a string can be is read, and rewound", async () => {
  const file = join(run, "log.jsonl");
  const line = (number: number) => `${JSON.stringify(step(number))}\n`;
  writeFileSync(file, line(0));
  const blank = Buffer.from(`${" ".repeat((1 << 24) - 1)}\n`);
  for (let bytes = 0; bytes < constants.MAX_STRING_LENGTH; bytes += blank.length)
    appendFileSync(file, blank);
  appendFileSync(file, line(1) + line(2));
  await rewindLog(run, 2, 10, unsaid);
  expect(readFileSync(file, "utf8")).toBe(line(0) + line(1));
});

const steps = async () =>
  (await readLog(run)).lines.flatMap((line) => (line.type === "step" ? [line.step] : []));

test.each<[string, Partial<FileFault>]>([
  ["nothing of a line", { effect: "error", after: 1 }],
  ["part of a line", { effect: "torn", after: 1, share: 0.4 }],
  ["part of several attempts", { effect: "torn", after: 1, times: 3, share: 0.9 }],
  ["all of a line, but it fails", { effect: "torn", after: 1, share: 1 }],
  ["the first line not", { effect: "torn", share: 0.5 }],
  ["the last line only when it is closed", { effect: "torn", after: 4, times: 2, share: 0.5 }],
])("a disk that takes %s loses none: the lines are written afterwards", async (_, fault) => {
  const said = await logSteps({ code: "ENOSPC", ...fault });
  expect(said).toEqual([
    expect.stringMatching(/^cannot write to the log \(ENOSPC.*\); its lines wait until/),
  ]);
  expect((await readLog(run)).unreadable).toEqual([]);
  expect(await steps()).toEqual([0, 1, 2, 3, 4]);
});

test("a short write is continued, and is not a failure", async () => {
  expect(await logSteps({ effect: "short", times: 1000, share: 0.3 })).toEqual([]);
  expect((await readLog(run)).unreadable).toEqual([]);
  expect(await steps()).toEqual([0, 1, 2, 3, 4]);
});

test("a disk that fails to the end keeps whole lines, and the loss is reported", async () => {
  const said = await logSteps({ effect: "torn", after: 3, times: 1000, share: 0.5 });
  expect(said).toEqual([
    expect.stringMatching(/^cannot write to the log \(EIO/),
    "the last 2 lines of the log could not be written",
  ]);
  expect((await readLog(run)).unreadable).toEqual([]);
  expect(await steps()).toEqual([0, 1, 2]);
});

test.each(["EACCES", "EROFS", "EMFILE", "ENOSPC"])(
  "a log that cannot be opened names the folder: %s",
  async (code) => {
    await rewindLog(run, 0, 10, unsaid);
    const open = under({ kind: "open", code }, async () => new Log(run, unsaid));
    await expect(open).rejects.toMatchObject({
      code: "ERR_ONEHOUR_RUN_FOLDER",
      message: expect.stringMatching(`^cannot write to the run folder ${run} \\(${code}`),
    });
  },
);

const half = '{"type":"step","st';

test("sets lines aside whole, after earlier ones, though the disk took a part before", async () => {
  const aside = join(run, "log.unreadable.txt");
  const log = join(run, "log.jsonl");
  const text = `${JSON.stringify(step(0))}\n${half}`;
  const say = () => {};
  for (const already of ["", `${half}\n`]) {
    writeFileSync(log, text);
    const failed = under({ effect: "torn", share: 0.5 }, () => rewindLog(run, 1, 10, say));
    await expect(failed).rejects.toThrow(/^cannot write to the run folder/);
    expect(readFileSync(log, "utf8")).toBe(text);
    expect(existsSync(aside) ? readFileSync(aside, "utf8") : "").toBe(already);
    await rewindLog(run, 1, 10, say);
    expect(readFileSync(aside, "utf8")).toBe(`${already}${half}\n`);
    expect(await steps()).toEqual([0]);
  }
});

/** Rewinds a log of these lines to 4 steps, two an epoch; what is left, what lies aside and what was said. */
async function rewind(lines: readonly LogLine[]) {
  const said: string[] = [];
  writeFileSync(join(run, "log.jsonl"), lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
  const kept = await rewindLog(run, 4, 2, (text) => said.push(text));
  expect((await readLog(run)).lines).toEqual(kept);
  const file = join(run, "log.unreadable.txt");
  const aside = existsSync(file) ? readFileSync(file, "utf8").trimEnd().split("\n") : [];
  return { kept, aside: aside.map((line) => JSON.parse(line)), said: said.join("\n") };
}

const at = (number: number) => ({ ...step(number), epoch: Math.floor(number / 2) }) as LogLine;
const epoch = (number: number): LogLine => ({
  type: "epoch",
  epoch: number,
  ...{ trainLoss: 1, top1: 0.5, top5: 1, testLoss: 1, testImages: 9, inputWait: 0, seconds: 1 },
});
const warned: LogLine = { type: "warning", step: 1, text: "the disk is full" };
const whole = [at(0), warned, at(1), epoch(0), at(2), at(3)];

test.each<[string, LogLine[]]>([
  ["the last epoch is not evaluated yet", whole],
  ["it is", [...whole, epoch(1)]],
])("a whole log stays as it is, without a message: %s", async (_, lines) => {
  const later = [at(4), { ...at(9) }, epoch(2)];
  expect(await rewind([...lines, ...later])).toEqual({ kept: lines, aside: [], said: "" });
});

test.each<[string, LogLine[], LogLine[], RegExp]>([
  ["a step is missing", whole.filter((line) => line !== whole[2]), [], /lacks 1 of its 4 steps;/],
  [
    "an epoch is missing",
    whole.filter((line) => line.type !== "epoch"),
    [],
    /lacks 1 of its 1 epoch;/,
  ],
  ["all is missing", [], [], /lacks 4 of its 4 steps and 1 of its 1 epoch;/],
  [
    "a step is there twice",
    [...whole, at(2)],
    [at(2)],
    /^warning: 1 line of log\.jsonl cannot be read or is out of place;/,
  ],
  ["an epoch is there twice", [...whole, epoch(0)], [epoch(0)], /1 line .*out of place/],
  [
    "a step's number has changed",
    [at(0), at(1), epoch(0), { ...at(2), step: 0 } as LogLine, at(3)],
    [{ ...at(2), step: 0 } as LogLine],
    /out of place.*lacks 1 of its 4 steps;/s,
  ],
  [
    "a step's epoch has changed",
    [at(0), { ...at(1), epoch: 7 } as LogLine, epoch(0), at(2), at(3)],
    [{ ...at(1), epoch: 7 } as LogLine],
    /out of place.*lacks 1 of its 4 steps;/s,
  ],
])("reports lines that a log lacks or has out of place: %s", async (_, lines, aside, message) => {
  const found = await rewind(lines);
  expect(found.said).toMatch(message);
  expect(found.aside).toEqual(aside);
  expect(found.kept.length).toBe(lines.length - aside.length);
});

test("nothing stays of a recipe.json that was written in part", async () => {
  const failed = under({ effect: "torn", share: 0.5 }, () => writeRecipe(run, {} as never, ""));
  await expect(failed).rejects.toThrow(/^cannot write to the run folder/);
  expect(readdirSync(run)).toEqual([]);
});
