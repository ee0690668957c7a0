// Runs worlds of several processes: their collectives' results, and the message when something
// fails.
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { isAlive, lastLine, torchrun, until } from "../support/process.js";
import { launcher, node, pidsOf, script } from "./command.js";

interface Sums {
  rank: number;
  worldSize: number;
  float32: number[];
  float64: number[];
  int32: number[];
  empty: number;
  broadcast: number[];
  gathered: number[][];
  large: string;
  unawaited: number[];
  device: number[];
  deviceBroadcast: number[];
  pair?: number[];
}

function sumsOf(stdout: string): Sums[] {
  const lines = stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line.replace(/^\[\d+\] /, "")) as Sums);
  return lines.sort((a, b) => a.rank - b.rank);
}

function expectSums(all: Sums[], k: number): void {
  const triangle = (k * (k + 1)) / 2;
  const ramp = Array.from({ length: 10 }, (_, i) => k * (i % 7) + triangle / 4);
  expect(all.map(({ rank }) => rank)).toEqual(Array.from({ length: k }, (_, r) => r));
  for (const sums of all) {
    expect(sums.worldSize).toBe(k);
    expect(sums.float32).toEqual(ramp);
    expect(sums.float64).toEqual(ramp);
    expect(sums.device).toEqual(ramp);
    expect(sums.deviceBroadcast).toEqual([k - 1, 42]);
    expect(sums.int32).toEqual([0, 1, 2, 3, 4].map((i) => i * triangle));
    expect(sums.empty).toBe(0);
    expect(sums.broadcast).toEqual([k - 1, 42]);
    expect(sums.gathered).toEqual(Array.from({ length: k }, (_, r) => [r, r === 0 ? 0 : -r]));
    expect(sums.unawaited).toEqual([(k * (k - 1)) / 2, k]);
  }
  expect(new Set(all.map(({ large }) => large)).size).toBe(1);
}

describe("collectives", () => {
  test.each([1, 2, 3, 4])("of %d ranks give every rank the same, right values", async (k) => {
    const run = launcher(k, 60, "sums");
    expect(await run.ended, run.stderr).toMatchObject({ status: 0 });
    const all = sumsOf(run.stdout);
    expectSums(all, k);
    if (k === 4) {
      expect(all.map(({ pair }) => pair)).toEqual([
        [0, 2, 1],
        [1, 2, 1],
        [0, 2, 5],
        [1, 2, 5],
      ]);
    }
  });

  test.each([2, 3, 5])("of %d ranks work through sockets, without shared memory", async (k) => {
    const run = node([script("launcher"), String(k), "60", script("sums")], {
      ONEHOUR_SHM_DISABLE: "1",
    });
    expect(await run.ended, run.stderr).toMatchObject({ status: 0 });
    expectSums(sumsOf(run.stdout), k);
  });

  test("work without any launcher in a world of one", async () => {
    const run = node([script("sums")]);
    expect(await run.ended).toMatchObject({ status: 0 });
    expectSums(sumsOf(run.stdout), 1);
  });

  test("are instructions of programs", async () => {
    const run = launcher(4, 60, "program");
    expect(await run.ended).toMatchObject({ status: 0 });
    const lines = run.stdout
      .replace(/^\[\d\] /gm, "")
      .trim()
      .split("\n");
    const results = lines.map((line) => JSON.parse(line));
    for (let rank = 0; rank < 4; rank++) {
      const first = rank - (rank % 2);
      expect(results).toContainEqual({
        rank,
        grad: [6, 4, 12, 2, 1, 10],
        temp: [first, 0 - first, first + 1, -first - 1],
      });
      expect(results).toContainEqual({ rank, refusal: "ERR_SHAPE line 7" });
    }
  });

  test.each([
    ["torchrun with a free master port", { TORCHELASTIC_USE_AGENT_STORE: "False" }],
    ["torchrun whose agent holds the master port", { TORCHELASTIC_USE_AGENT_STORE: "True" }],
  ])("work under %s", async (_, variables) => {
    const port = String(21_000 + (process.pid % 8000));
    const runs = [0, 1].map((rank) =>
      node([script("sums")], {
        ...variables,
        ...torchrun(rank, port, "localhost"),
      }),
    );
    for (const run of runs) expect(await run.ended).toMatchObject({ status: 0 });
    expectSums(sumsOf(runs.map(({ stdout }) => stdout).join("")), 2);
  });
});

test("a TypeScript script runs in k processes", async () => {
  const file = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
  const run = node([
    script("launcher"),
    "2",
    "60",
    file("dist/ranks/run-script.js"),
    file("examples/all-reduce.ts"),
  ]);
  expect(await run.ended).toMatchObject({ status: 0 });
  expect(run.stdout).toMatch(/^2 ranks, 25 MiB on .*: .* sum 3 everywhere$/m);
});

// What happens to rank 1, and the last line on stderr.
const failures: [string, RegExp][] = [
  ["kill", /^onehour: rank 1: was killed \(SIGKILL\)/],
  ["throw", /^onehour: rank 1: TypeError: a user's mistake$/],
  ["exit", /^onehour: rank 1: exited with status 7; the last line of its stderr: bad luck$/],
  ["differ", /rank 0 allReduce of Float32Array\[1000\], rank 1 allReduce of Float64Array\[3\]/],
  ["leave", /^onehour: rank 0(?!: rank 0) .* Before that rank 1 ended with status 0$/],
];

describe("supervision", () => {
  test.each(failures)("rank 1: %s", async (what, line) => {
    const run = launcher(2, 60, "loop", what);
    await until(() => run.stdout.includes("[1] round 20"));
    const start = performance.now();
    const { status } = await run.ended;
    expect(performance.now() - start).toBeLessThan(5000);
    expect(status).toBe(1);
    expect(lastLine(run.stderr)).toMatch(line);
    expect(run.stderr.match(/^onehour: /gm)).toHaveLength(1);
    expect(pidsOf(run).length).toBeGreaterThanOrEqual(2);
    expect(pidsOf(run).filter(isAlive)).toEqual([]);
  });

  // Of other hangs: hangs.heavy.ts.
  test("rank 1: stop", async () => {
    const run = launcher(2, 2, "loop", "stop");
    expect(await run.ended).toMatchObject({ status: 1 });
    expect(lastLine(run.stderr)).toMatch(
      /^onehour: rank 1 made no progress for 2 s while rank 0 waited.*heartbeat/,
    );
    expect(pidsOf(run).filter(isAlive)).toEqual([]);
  });

  test.each([false, true])(
    "a killed launcher takes its workers along (one stopped: %s)",
    async (stopped) => {
      const run = launcher(2, 60, "loop", "endless");
      await until(() => run.stdout.includes("[1] round 20"));
      const pids = pidsOf(run);
      if (stopped) process.kill(pids[0]!, "SIGSTOP");
      run.child.kill("SIGKILL");
      await until(() => !pids.some(isAlive));
      expect(pids).toHaveLength(2);
    },
  );

  test.each([
    ["SIGTERM", 143],
    ["SIGINT", 130],
  ] as const)("%s ends the workers and gives status %d", async (signal, expected) => {
    const run = launcher(2, 60, "loop", "endless");
    await until(() => run.stdout.includes("[1] round 20"));
    run.child.kill(signal);
    expect(await run.ended).toMatchObject({ status: expected });
    expect(run.stderr).toBe("");
    expect(pidsOf(run).filter(isAlive)).toEqual([]);
  });

  test("a second signal kills workers that take their time", async () => {
    const run = launcher(2, 60, "loop", "stubborn");
    await until(() => run.stdout.includes("[1] round 20"));
    run.child.kill("SIGTERM");
    await until(() => run.stdout.includes("no"));
    run.child.kill("SIGTERM");
    expect(await run.ended).toMatchObject({ status: 143 });
    expect(pidsOf(run).filter(isAlive)).toEqual([]);
  });

  test("workers ended by different signals have not failed", async () => {
    const run = launcher(2, 60, "loop", "different-signals");
    expect([130, 143]).toContain((await run.ended).status);
    expect(run.stderr).toBe("");
  });

  test("workers may save on SIGTERM", async () => {
    const run = launcher(2, 60, "loop", "save");
    await until(() => run.stdout.includes("[1] round 20"));
    run.child.kill("SIGTERM");
    expect(await run.ended).toMatchObject({ status: 143 });
    expect(run.stdout.match(/saved/g)).toHaveLength(2);
  });
});
