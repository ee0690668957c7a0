// Traces steps of two workers, to their end and where a signal or a loss that is not finite ends the run before.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { onehour } from "../cli/command.js";
import { stepsOf, temporaryFolder } from "../support/folder.js";
import { requireSound, type TraceEvent } from "./trace-events.js";

const folder = temporaryFolder();
const training = (out: string, ...flags: string[]) => [
  ...["train", "synthetic:8x8x1:4:3200", "--model", "resnet8", "--device", "cpu", "--threads", "1"],
  ...["--workers", "2", "--batch", "4", "--milestones", "none", "--out", out, ...flags],
];

/** The complete events of a trace by rank. */
function ranksOf(out: string): TraceEvent[][] {
  const ranks = requireSound(readFileSync(join(out, "trace.json"), "utf8"));
  expect(ranks).toHaveLength(2);
  return ranks.map(({ rows, events }) => {
    expect(rows).toEqual(expect.arrayContaining(["steps", "compute", "comm", "host", "input"]));
    return events;
  });
}

/** The steps that a rank's events are of. */
const tracedSteps = (events: readonly TraceEvent[]) =>
  events.filter(({ cat }) => cat === "steps").map(({ args }) => args.step);

const range = (begin: number, end: number) =>
  Array.from({ length: end - begin }, (_, i) => begin + i);

test("the trace has the same steps and instructions of each rank", async () => {
  const out = join(folder, "whole");
  const { status, stdout, stderr } = await onehour(training(out, "--steps", "12", "--trace", "3"));
  expect(status, stderr).toBe(0);
  expect(stdout).toContain(`trace of steps 5 to 7: ${out}/trace.json; open it in`);
  const ranks = ranksOf(out);
  for (const events of ranks) expect(tracedSteps(events)).toEqual([5, 6, 7]);
  const [first, second] = ranks.map((events) =>
    events.flatMap(({ cat, name, args }) => (args.line === undefined ? [] : [{ cat, name, args }])),
  );
  expect(second).toEqual(first);
  expect(first!.filter(({ name }) => name === "all-reduce").length).toBeGreaterThanOrEqual(3);
});

test("a signal within the traced steps: those that were done are written", async () => {
  const out = join(folder, "interrupted");
  const log = join(out, "log.jsonl");
  const { status, stdout, stderr } = await onehour(training(out, "--trace", "1000"), {
    signal: {
      name: "SIGTERM",
      when: () => existsSync(log) && readFileSync(log, "utf8").includes('"step":10,'),
    },
  });
  expect(status, stderr).toBe(143);
  expect(stdout).toMatch(/^interrupted after /m);
  const { length } = stepsOf(out);
  const traced = range(5, Math.min(length, 1005));
  for (const events of ranksOf(out)) expect(tracedSteps(events)).toEqual(traced);
});

test("a step that is not finite within them: they are written, and the run ends", async () => {
  const out = join(folder, "broken");
  const run = await onehour(training(out, "--lr", "1e30", "--steps", "30", "--trace", "30"));
  expect(run.status).toBe(1);
  expect(run.stderr).toMatch(/is not finite/);
  const { length } = stepsOf(out);
  expect(length).toBeGreaterThan(0);
  for (const events of ranksOf(out)) expect(tracedSteps(events)).toEqual(range(0, length));
});

test("a step that is not finite before them: nothing is written, and the run ends", async () => {
  const out = join(folder, "early");
  const run = await onehour(training(out, "--lr", "1e30", "--steps", "300", "--trace", "2"));
  expect(run.status).toBe(1);
  expect(run.stderr).toMatch(/is not finite/);
  expect(existsSync(join(out, "trace.json"))).toBe(false);
});
