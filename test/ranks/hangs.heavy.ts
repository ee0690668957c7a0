// Ends worlds whose ranks hang, each in its way, names the rank, and leaves a long step alone.
import { expect, test } from "vitest";
import { isAlive, lastLine, until } from "../support/process.js";
import { launcher, pidsOf } from "./command.js";

// What rank 1 does instead of coming, and the last line.
const hangs: [string, RegExp][] = [
  ["stop", /^onehour: rank 1 made no progress for 2 s while rank 0 waited.*heartbeat/],
  ["sleep", /^onehour: rank 1 made no progress for 2 s while rank 0 waited/],
  ["work", /^onehour: rank 1 made no progress for 2 s while rank 0 waited/],
  ["elsewhere", /^onehour: no rank made progress for 2 s: all wait for each other/],
];

test.each(hangs)("rank 1: %s", async (what, line) => {
  const run = launcher(2, 2, "loop", what);
  await until(() => run.stdout.includes("[1] round 20"));
  const start = performance.now();
  const { status } = await run.ended;
  const seconds = (performance.now() - start) / 1000;
  expect(seconds).toBeGreaterThan(1.8);
  // Not after the timeout by default; a busy machine takes some seconds to notice and to end the processes.
  expect(seconds).toBeLessThan(60);
  expect(status).toBe(1);
  expect(lastLine(run.stderr)).toMatch(line);
  expect(run.stderr).toMatch(/ {2}rank 0: waits in a collective/);
  expect(pidsOf(run).filter(isAlive)).toEqual([]);
});

test("a kernel that does not end is found while its rank's communication waits", async () => {
  const run = launcher(2, 2, "kernel");
  const { status } = await run.ended;
  expect(status).toBe(1);
  expect(lastLine(run.stderr)).toMatch(
    /^onehour: rank 1 made no progress for 2 s while rank 0 waited/,
  );
  expect(run.stderr).toMatch(/ {2}rank 0: waits in a collective/);
  expect(run.stderr).toMatch(/ {2}rank 1: runs a kernel that does not end/);
  expect(pidsOf(run)).toHaveLength(2);
  expect(pidsOf(run).filter(isAlive)).toEqual([]);
});

test("a step of twice the timeout is not a hang while its pieces end", async () => {
  const run = launcher(2, 2, "loop", "long-step");
  expect(await run.ended).toMatchObject({ status: 0 });
  expect(run.stderr).toBe("");
});
