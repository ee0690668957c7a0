// Writes the page about a run while it goes on, in place or in a thread, and when it ends.
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { Log } from "../../lib/run-folder/log.js";
import { Journal } from "../../lib/train/journal.js";
import { temporaryFolder } from "../support/folder.js";
import { until } from "../support/process.js";

const root = temporaryFolder();
const stepsPerEpoch = 20_000;

const dataOf = (page: string) =>
  JSON.parse(/<script type="application\/json" id="data">(.*?)<\/script>/.exec(page)![1]!);

test.each([
  ["of a short log", 3],
  ["of a log of more than 1 MiB, in a thread", stepsPerEpoch],
])("the page %s", async (name, steps) => {
  const out = join(root, name);
  mkdirSync(out);
  const fields = { model: "resnet8", dataset: "synthetic", workers: 1, accumulate: 1, batch: 4 };
  writeFileSync(join(out, "recipe.json"), JSON.stringify(fields));
  writeFileSync(join(out, "run.lock"), JSON.stringify({ pid: process.pid, host: hostname() }));
  const line = { type: "step", epoch: 0, loss: 1, lr: 0.1, momentumFactor: 1, imagesPerSecond: 8 };
  const lines = Array.from({ length: steps }, (_, step) => JSON.stringify({ ...line, step }));
  appendFileSync(join(out, "log.jsonl"), lines.map((text) => `${text}\n`).join(""));
  expect(statSync(join(out, "log.jsonl")).size > 1 << 20).toBe(steps === stepsPerEpoch);

  const said: unknown[] = [];
  const journal = new Journal({
    ...{ leads: true, epochs: 3, out, onEvent: (event) => said.push(event) },
    course: {
      ...{ steps: 3 * stepsPerEpoch, stepsPerEpoch, trainImages: 4, testImages: 4, statistics: 0 },
    },
  });
  const log = new Log(out, (text) => said.push(text));
  journal.open(log);
  const epoch = {
    ...{ type: "epoch" as const, epoch: 0, trainLoss: 1, top1: 0.25, top5: 1, testLoss: 2 },
    ...{ testImages: 4, inputWait: 0, seconds: 4 },
  };
  journal.epoch(epoch, 1);
  const file = join(out, "report.html");
  await until(() => existsSync(file));
  const running = readFileSync(file, "utf8");
  expect(running).toMatch(/running at 20\d\d-.* UTC; this page loads itself again every 10 s/);
  expect(dataOf(running).reload).toBe(10);
  expect(dataOf(running).charts[0].series[0].y).toEqual([75]);

  const { top1, top5, testImages } = epoch;
  const result = { status: "finished" as const, out, model: "resnet8", steps, seconds: 5 };
  await journal.end({ ...result, top1, top5, testImages }, false);
  journal.close();
  const ended = readFileSync(file, "utf8");
  expect(ended).toMatch(/role="status">finished</);
  expect(dataOf(ended).reload).toBeUndefined();
  expect(said.map((event) => (event as { type: string }).type)).toEqual(["epoch", "end"]);
});
