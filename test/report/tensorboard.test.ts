// TensorBoard's event files, read back by readers that are not ours.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { expect, test } from "vitest";
import { shortest } from "../../lib/report/run-data.js";
import { EventLog, writeEvents } from "../../lib/report/tensorboard/event-files.js";
import { exportEvents, fileNames } from "../../lib/report/tensorboard/export.js";
import { crc32c, record } from "../../lib/report/tensorboard/record.js";
import { shownTags } from "../../lib/report/tensorboard/run-events.js";
import { trainingSeconds } from "../../lib/report/training-time.js";
import type { LogLine } from "../../lib/run-folder/log-lines.js";
import { main } from "../cli/command.js";
import { Disk } from "../faults/disk.js";
import { Files, withFaults } from "../faults/files.js";
import { logOf, temporaryFolder, writeFiles } from "../support/folder.js";
import { resumed, small, trained } from "../support/training.js";
import { eventsIn, crc32c as independent, recordsOf } from "./read-events.js";

const folder = temporaryFolder();
const recipe = { dataset: "synthetic", workers: 2, accumulate: 1, batch: 50, lr: 0.1, bind: true };
const minibatch = 100;

const step = (step: number, more: object = {}): LogLine => ({
  type: "step",
  step,
  epoch: 0,
  loss: 2.5,
  lr: 0.1,
  momentumFactor: 1,
  imagesPerSecond: 50,
  ...more,
});
const epoch = (epoch: number, seconds: number): LogLine => ({
  type: "epoch",
  epoch,
  trainLoss: 2,
  trainTop1: 0.5,
  top1: 0.75,
  top5: 1,
  testLoss: 1.5,
  testImages: 8,
  inputWait: 0.25,
  seconds,
});

/** Writes lines whose last was written at second 1000, and reads the values. */
async function valuesOf(name: string, lines: readonly LogLine[]) {
  await writeEvents(join(folder, name), { recipe, minibatch, lines, end: 1e6 });
  return eventsIn(join(folder, name)).values;
}

/** Places and values of a tag. */
const points = (values: Awaited<ReturnType<typeof valuesOf>>, tag: string) =>
  (values[tag] ?? []).map(({ step, value }) => [step, value]);

test.each([
  ["123456789", 0xe3069283],
  ["\0".repeat(32), 0x8a9136aa], // RFC 3720, B.4
  ["", 0],
])("the checksum of %j", (text, sum) => {
  expect(crc32c(Buffer.from(text))).toBe(sum);
  expect(independent(Buffer.from(text))).toBe(sum);
});

test("a damaged record is noticed by the reader of these tests", () => {
  const framed = record(Buffer.from("abc"));
  expect(recordsOf(framed).map(String)).toEqual(["abc"]);
  for (let i = 0; i < framed.length; i++) {
    const damaged = Buffer.from(framed);
    damaged[i]! ^= 1;
    expect(() => recordsOf(damaged)).toThrow();
  }
});

test("every figure of a step has its tag", async () => {
  const split = { compute: 4, exposedCommunication: 3, inputWait: 2, update: 1 };
  const more = { loss: null, top1: 0.5, lossScale: 65536, goodSteps: 3, skipped: 2, ...split };
  const values = await valuesOf("step", [step(0, more), step(2 ** 40)]);
  expect(points(values, "train/loss")).toEqual([
    [0, Number.NaN],
    [2 ** 40, 2.5],
  ]);
  expect(points(values, "train/lr")).toEqual([
    [0, Math.fround(0.1)],
    [2 ** 40, Math.fround(0.1)],
  ]);
  expect(points(values, "train/momentum_factor")).toHaveLength(2);
  expect(points(values, "train/images_per_second")).toHaveLength(2);
  expect(points(values, "train/loss_scale")).toEqual([[0, 65536]]);
  expect(points(values, "train/steps_skipped")).toEqual([[0, 2]]);
  expect(points(values, "train/top1")).toEqual([[0, 0.5]]);
  for (const [name, seconds] of Object.entries(split)) {
    const tag = `split/${name.replace(/[A-Z]/, (letter) => `_${letter.toLowerCase()}`)}`;
    expect(points(values, tag), tag).toEqual([[0, seconds]]);
  }
});

test("an epoch stands at its last step, with errors and accuracies as fractions", async () => {
  const values = await valuesOf("epoch", [step(0), step(1), epoch(0, 5), step(2), epoch(1, 3)]);
  for (const [tag, value] of Object.entries({
    "epoch/train_loss": 2,
    "epoch/train_top1": 0.5,
    "epoch/input_wait": 0.25,
    "test/loss": 1.5,
    "test/top1": 0.75,
    "test/top5": 1,
    "test/top1_error": 0.25,
    "test/top5_error": 0,
  }))
    expect(points(values, tag), tag).toEqual([
      [1, value],
      [2, value],
    ]);
  expect(points(values, "epoch/seconds")).toEqual([
    [1, 5],
    [2, 3],
  ]);
});

test("warnings, restarts and the end are texts at their steps", async () => {
  const cause = "worker 1 — „gone“";
  const values = await valuesOf("texts", [
    step(6),
    { type: "warning", step: 7, text: "lost | found" },
    { type: "restart", step: 4, count: 1, cause, workers: 2, nodes: [0], standBy: [] },
    step(8),
    { type: "end", status: "failed", steps: 9, seconds: 3, reason: "out of memory" },
  ]);
  expect(points(values, "log/warning")).toEqual([[7, "lost | found"]]);
  expect(points(values, "log/restart")).toEqual([[4, `restart 1: ${cause}`]]);
  expect(points(values, "log/end")).toEqual([[8, "out of memory"]]);
  const ended = { session_end_info: { status: "STATUS_FAILURE", end_time_secs: 1000 } };
  expect(points(values, "_hparams_/session_end_info")).toEqual([[8, ended]]);
});

test("a file begins with its version, a start that voids earlier files, and the recipe", async () => {
  await writeEvents(join(folder, "begin"), {
    recipe: { ...recipe, dataset: "a|b", milestones: [3, 6], out: "runs/x" },
    minibatch,
    lines: [],
    end: 1e6,
  });
  const { fileVersion, starts, values } = eventsIn(join(folder, "begin"));
  expect({ fileVersion, starts }).toEqual({ fileVersion: "brain.Event:2", starts: [0] });
  expect(points(values, "recipe")).toEqual([
    [0, expect.stringMatching(/^\| field \| value \|\n\|---\|---\|\n\| dataset \| a\\\|b \|\n/)],
  ]);
  const hparams = {
    dataset: { string_value: "a|b" },
    workers: { number_value: 2 },
    accumulate: { number_value: 1 },
    batch: { number_value: 50 },
    lr: { number_value: 0.1 },
    bind: { bool_value: true },
    milestones: { string_value: "3,6" },
  };
  expect(points(values, "_hparams_/session_start_info")).toEqual([
    [0, { session_start_info: { hparams, start_time_secs: 1000 } }],
  ]);
});

test("lines are as far apart as the training took", async () => {
  // 100 images a step: 2 s, 1 s, and what is left of the epoch's 5 s; then steps that do not fit into 2 s.
  const lines = [
    step(0),
    step(1, { imagesPerSecond: 100 }),
    epoch(0, 5),
    step(2, { imagesPerSecond: null }),
    step(3, { imagesPerSecond: 25 }),
    step(4),
    epoch(1, 3),
    step(5),
  ];
  const times = [2, 3, 5, 5, 7, 8, 8, 10];
  expect(trainingSeconds(lines, 100)).toEqual(times);
  const values = await valuesOf("times", lines);
  const wall = values["train/loss"]!.map(({ wallTime }) => wallTime);
  expect(wall).toEqual([992, 993, 995, 997, 998, 1000]);
});

test("the page names each tag", () => {
  const page = readFileSync(new URL("../../docs/seeing.md", import.meta.url), "utf8");
  const section = page.split("\n## ").find((text) => text.startsWith("TensorBoard\n"))!;
  // Cells begin with a tag, or with the group of the tags that follow.
  const rows = [...section.matchAll(/^\| (?:in `(\w+\/)`: )?(`.*?`) \|/gm)].flatMap(
    ([, group = "", row]) => row!.match(/[\w/]+/g)!.map((tag) => group + tag),
  );
  expect(rows.sort()).toEqual([...shownTags].sort());
});

test("an event file replaces the earlier ones, and leaves other files alone", async () => {
  const out = join(folder, "replaced");
  mkdirSync(out);
  const foreign = ["events.out.tfevents.1.host", "notes.txt"];
  for (const name of foreign) writeFileSync(join(out, name), "");
  const files = [];
  for (let i = 0; i < 3; i++)
    files.push(await writeEvents(out, { recipe, minibatch, lines: [], end: 0 }));
  expect(files).toEqual([...new Set(files)].sort());
  const names = files.map((file) => basename(file));
  expect(readdirSync(out).sort()).toEqual([...foreign, ...names.slice(1)].sort());
  expect(statSync(files[1]!).size).toBe(0); // a TensorBoard may still be reading it
  expect(eventsIn(out).starts).toEqual([0]);
});

test("a disk that is full for a while loses no event", async () => {
  const out = join(folder, "full");
  mkdirSync(out);
  const said: string[] = [];
  // The first write is that of the file's beginning.
  const full = {
    kind: "write",
    after: 2,
    times: 2,
    effect: "torn",
    code: "ENOSPC",
    share: 0.4,
  } as const;
  await withFaults(new Files(out, new Disk(out), [full]), async () => {
    const log = await EventLog.open(out, { recipe, minibatch, lines: [], end: 0 }, (text) =>
      said.push(text),
    );
    for (let i = 0; i < 5; i++) log.write(step(i));
    log.close();
  });
  expect(said).toEqual([
    expect.stringMatching(/^cannot write to TensorBoard's event file \(ENOSPC.*; its events wait/),
  ]);
  expect(eventsIn(out).values["train/loss"]!.map(({ step }) => step)).toEqual([0, 1, 2, 3, 4]);
});

const data = { ...small, dataset: "synthetic:8x8x1:2:16", batch: 8 }; // 2 steps an epoch

/** What a run's events and its log say of its steps and epochs. */
function bothOf(out: string) {
  const { values } = eventsIn(join(out, "tensorboard"));
  const log = logOf(out);
  const f32 = (points: [number, number][]) => points.map(([x, y]) => [x, Math.fround(y)]);
  return {
    events: { loss: points(values, "train/loss"), top1: points(values, "test/top1") },
    log: {
      loss: f32(log.flatMap((line) => (line.type === "step" ? [[line.step, line.loss]] : []))),
      top1: f32(
        log.flatMap((line) => (line.type === "epoch" ? [[2 * line.epoch + 1, line.top1]] : [])),
      ),
    },
  };
}

test("train writes each line, those of earlier processes too, and none twice", async () => {
  const out = join(folder, "run");
  await trained({ ...data, epochs: 4, steps: 3, out });
  await resumed(out, { steps: 4, tensorboard: true });
  const first = bothOf(out);
  expect(first.events).toEqual(first.log);
  expect(first.log.loss).toHaveLength(4);
  await resumed(out, { steps: 8 });
  const whole = bothOf(out);
  expect(whole.events).toEqual(whole.log);
  expect(whole.log.top1).toHaveLength(4);
  expect(points(eventsIn(join(out, "tensorboard")).values, "log/end")).toEqual([[7, "finished"]]);
});

test("train goes on where no events can be written", async () => {
  const out = join(folder, "refused");
  mkdirSync(out);
  writeFileSync(join(out, "tensorboard"), "");
  const { result, text } = await trained({ ...data, epochs: 1, out, tensorboard: true });
  expect(result.status).toBe("finished");
  expect(text).toMatch(/^warning: no events are written for TensorBoard: cannot write to \S+/m);
});

test.each([
  [
    ["/runs/a", "/runs/b"],
    ["a", "b"],
  ],
  [
    ["/x/a", "/y/a", "/a"],
    ["x-a", "y-a", "a"],
  ],
  [
    ["/x/a", "/x-a"],
    ["a", "x-a"],
  ],
  [
    ["/x/a", "/y/a", "/z/x-a"],
    ["x-a", "y-a", "x-a-2"],
  ],
  [["/"], ["run"]],
  [
    ["/runs/.a b\n|ü", "/runs/.."],
    ["a_b__ü", "run"],
  ],
])("the names of %j", (folders, names) => {
  expect(fileNames(shortest(folders))).toEqual(names);
});

/** A folder with a run's recipe and log. */
function runIn(name: string, lines: readonly LogLine[]): string {
  const recipe = {
    dataset: "synthetic",
    workers: 2,
    accumulate: 1,
    batch: 50,
    id: "1",
    digest: "2",
  };
  const log = lines.map((line) => `${JSON.stringify(line)}\n`).join("");
  const out = join(folder, name);
  writeFiles(out, { "recipe.json": JSON.stringify(recipe), "log.jsonl": `${log}{"type":"st` });
  return out;
}

test("report writes a subfolder a run, each run once", async () => {
  const [one, two] = [runIn("one/run", [step(0), step(1)]), runIn("two/run", [])];
  const target = join(folder, "exported");
  for (let i = 0; i < 2; i++) {
    const { stdout, stderr, status } = spawnSync(
      process.execPath,
      [main, "report", one, two, `${one}/`, "--tensorboard", target],
      { encoding: "utf8" },
    );
    expect({ stdout, stderr, status }).toEqual({
      stdout: `${target}/one-run\n${target}/two-run\n`,
      stderr: "",
      status: 0,
    });
  }
  const { values } = eventsIn(join(target, "one-run"));
  expect(points(values, "train/lr")).toHaveLength(2);
  expect(values["train/loss"]!.map(({ wallTime }) => wallTime)).toEqual(
    [2, 0].map((ago) => expect.closeTo(statSync(join(one, "log.jsonl")).mtimeMs / 1000 - ago, 3)),
  );
  expect(Object.keys(eventsIn(join(target, "two-run")).values)).toEqual([
    "recipe",
    "_hparams_/session_start_info",
  ]);
});

test("report refuses what is no run before it writes anything", async () => {
  const good = runIn("good", []);
  const damaged = runIn("damaged", []);
  writeFileSync(join(damaged, "recipe.json"), '{"batch": 0}');
  const target = join(folder, "unwritten");
  for (const [run, message] of [
    [join(folder, "nowhere"), /nowhere holds no run \(looked for recipe.json\); name the folder/],
    [damaged, /damaged\/recipe.json is not a recipe \(batch: .*\); put back the one/],
  ] as const)
    await expect(exportEvents([good, run], target)).rejects.toThrow(message);
  expect(existsSync(target)).toBe(false);
  await expect(exportEvents([good], join(damaged, "recipe.json"))).rejects.toThrow(
    /^cannot write to \S+recipe.json\/good \(.*\); free some space there, or name another folder/,
  );
});

const python = process.env.ONEHOUR_PYTHON || "python3";
const hasTensorBoard = spawnSync(python, ["-c", "import tensorboard"]).status === 0;

test.skipIf(!hasTensorBoard)(
  `TensorBoard itself reads them${hasTensorBoard ? "" : ` (skipped: ${python} cannot import tensorboard)`}`,
  async () => {
    const out = join(folder, "python");
    await writeEvents(out, { recipe, minibatch, lines: [step(0), step(1), epoch(0, 5)], end: 1e6 });
    const program = `
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1]).Reload()
print(json.dumps({tag: [(e.wall_time, e.step, e.value) for e in events.Scalars(tag)] for tag in ["train/loss", "test/top1"]}))
print(json.dumps([e.tensor_proto.string_val[0].decode() for e in events.Tensors("recipe")]))
print(json.dumps(sorted(events.PluginTagToContent("hparams"))))`;
    const { stdout, stderr } = spawnSync(python, ["-c", program, out], { encoding: "utf8" });
    const [scalars, texts, hparams] = stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(scalars, stderr).toEqual({
      "train/loss": [
        [997, 0, 2.5],
        [999, 1, 2.5],
      ],
      "test/top1": [[1000, 1, 0.75]],
    });
    expect(texts).toEqual([expect.stringContaining("| lr | 0.1 |")]);
    expect(hparams).toEqual(["_hparams_/session_start_info"]);
  },
);
