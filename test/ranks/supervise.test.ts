// Detects hangs, on a simulated clock.
import { describe, expect, test } from "vitest";
import { causeOf, type Failure, type Heartbeat, Watch } from "../../lib/ranks/supervise.js";

type Beat = (second: number) => Heartbeat | undefined;

const beat = (progress: number, waiting: number, running = 0, reading = 0): Heartbeat => ({
  progress,
  waiting,
  running,
  reading,
});
const works: Beat = (second) => beat(Math.floor(second), 0, 1);
const stops: Beat = (second) => (second < 5 ? works(second) : undefined);
const waits: Beat = (second) => beat(Math.min(5, Math.floor(second)), 1);
const idles: Beat = (second) => beat(Math.min(5, Math.floor(second)), 0);
const computes: Beat = (second) => beat(Math.min(5, Math.floor(second)), 0, 1);
// One stream runs a kernel, another waits for peers.
const overlaps: Beat = (second) => beat(Math.min(5, Math.floor(second)), 1, 1);
const reads: Beat = (second) => beat(Math.min(5, Math.floor(second)), 0, 0, 1);
const never: Beat = () => undefined;

/** Runs the clock in quarters of a second; the verdict and when it came. */
function run(beats: readonly Beat[], options: { until?: number; timeout?: number } = {}) {
  const watch = new Watch(beats.length, options.timeout ?? 10, 0);
  for (let second = 0.25; second <= (options.until ?? 100); second += 0.25) {
    for (const [rank, beat] of beats.entries()) {
      const heartbeat = beat(second);
      if (heartbeat !== undefined) watch.heartbeat(rank, heartbeat, second);
    }
    const verdict = watch.check(second, () => undefined);
    if (verdict !== undefined) return { ...verdict, second };
  }
  return undefined;
}

describe("Watch", () => {
  test.each<[string, Beat[], number[] | undefined, number?]>([
    ["all work", [works, works], undefined],
    ["one waits for one that works", [waits, works], undefined],
    ["one waits for one that does nothing", [waits, idles], [1], 15],
    ["one waits for one that was stopped", [waits, stops], [1], 15],
    [
      "the stopped one waited when it was stopped",
      [waits, (s) => (s < 6 ? waits(s) : undefined)],
      [1],
    ],
    ["one waits for one whose kernel does not end", [waits, computes], [1], 15],
    ["that one's communication waits already", [waits, overlaps, waits], [1], 15],
    ["kernels of two do not end", [overlaps, waits, overlaps], [0, 2], 15],
    ["kernels of all do not end, and all communicate", [overlaps, overlaps], [0, 1], 15],
    ["all compute something long that nobody waits for", [computes, computes], undefined],
    ["two wait for one", [waits, idles, waits], [1], 15],
    ["one waits, one works, one idles", [waits, works, idles], undefined],
    ["all wait for each other", [waits, waits], [], 15],
    ["all do something long that nobody waits for", [idles, idles], undefined],
    ["a world of one that works long", [idles], undefined],
    ["a read of one never ends, and nobody waits", [idles, reads], [0, 1], 15],
    ["the reads of all never end", [reads, reads], [0, 1], 15],
    ["one waits for one whose read never ends", [waits, reads], [1], 15],
    ["one reads for long, and another works", [reads, works], undefined],
    ["the read of a world of one never ends", [reads], [0], 15],
    ["all are stopped", [stops, stops], [0, 1]],
    ["one never starts", [waits, never], [1], 60],
  ])("%s", (_, beats, culprits, second) => {
    const verdict = run(beats);
    expect(verdict?.culprits).toEqual(culprits);
    if (second !== undefined) {
      expect(verdict!.second).toBeGreaterThanOrEqual(second);
      expect(verdict!.second).toBeLessThan(second + 2.5);
    }
  });

  test("a rank that never started has taken its full time in the report", () => {
    const message = run([waits, never], { timeout: 3 })?.message;
    expect(message).toMatch(/^rank 1 made no progress for 60 s while rank 0 waited/);
  });

  test("a read that does not end is the data set's, or of code that runs on", () => {
    expect(run([reads, reads])?.message).toBe(
      "ranks 0 and 1 made no progress for 10 s. The data set has not returned the images of a batch, or " +
        "code of a module runs without an end. If it takes so long, raise timeoutSeconds",
    );
  });

  test("waiting for less than the timeout is not a hang", () => {
    const long: Beat = (second) => beat(Math.floor(second / 9), 0);
    const patient: Beat = (second) => beat(Math.floor(second / 9), 1);
    const overlapping: Beat = (second) => beat(Math.floor(second / 9), 1, 1);
    expect(run([patient, long])).toBeUndefined();
    expect(run([patient, overlapping])).toBeUndefined();
  });

  test("ranks that have finished hold up nobody", () => {
    const watch = new Watch(2, 10, 0);
    watch.finished(1);
    for (let second = 0; second < 50; second += 0.25) {
      watch.heartbeat(0, beat(1, 0), second);
      expect(watch.check(second, () => undefined)).toBeUndefined();
    }
  });

  test("time in which the launcher itself was stopped counts for nobody", () => {
    const watch = new Watch(2, 10, 0);
    const check = (second: number) => {
      watch.heartbeat(0, beat(1, 1), second);
      watch.heartbeat(1, beat(1, 0), second);
      return watch.check(second, () => undefined);
    };
    for (let second = 0; second < 5; second += 0.25) expect(check(second)).toBeUndefined();
    // A thousand seconds pass in one tick.
    for (let second = 1005; second < 1009; second += 0.25) expect(check(second)).toBeUndefined();
    expect(check(1012)).toBeUndefined();
  });

  test("says which rank waits for which", () => {
    const watch = new Watch(3, 1, 0);
    let verdict: ReturnType<Watch["check"]>;
    for (let second = 0; second < 3 && verdict === undefined; second += 0.25) {
      watch.heartbeat(0, beat(7, 1), second);
      watch.heartbeat(1, beat(3, 0), second);
      watch.heartbeat(2, beat(5, 1, 1), second);
      verdict = watch.check(second, (rank) => (rank === 0 ? 'at the rendezvous "x"' : undefined));
    }
    expect(verdict!.message).toMatch(/^ranks 1 and 2 made no progress for 1 s while rank 0 waited/);
    expect(verdict!.table[0]).toMatch(/rank 0: waits at the rendezvous "x"; 7 pieces of work done/);
    expect(verdict!.table[1]).toMatch(/rank 1: waits for nobody; 3 pieces/);
    expect(verdict!.table[2]).toMatch(/rank 2: runs a kernel that does not end; 5 pieces/);
  });
});

test("the cause is the first failure that is not a consequence of another", () => {
  const failure = (rank: number, secondary: boolean): Failure => ({
    rank,
    secondary,
    message: "",
    code: undefined,
    details: [],
  });
  expect(causeOf([])).toBeUndefined();
  expect(causeOf([failure(0, true), failure(2, true)])?.rank).toBe(0);
  expect(causeOf([failure(0, true), failure(1, false), failure(2, false)])?.rank).toBe(1);
});
