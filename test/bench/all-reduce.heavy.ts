// Runs `onehour bench all-reduce` with real ranks: through memory and sockets, under a launch, and with faults.
import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { AllReduceResult } from "../../lib/bench/all-reduce-bench.js";
import { main, onehour } from "../cli/command.js";
import { temporaryFolder, writeFiles } from "../support/folder.js";
import { childrenOf, freePort, start, until } from "../support/process.js";

const folder = temporaryFolder();
const small = ["bench", "all-reduce", "-b", "4", "-e", "64K"];

function parsed(text: string, workers: number): AllReduceResult {
  const result = JSON.parse(text) as AllReduceResult;
  expect(result).toMatchObject({ workers, device: expect.any(String) });
  expect(result.environment.onehour).toMatch(/^\d+\./);
  expect(result.rows.map(({ size }) => size)).toEqual(
    Array.from({ length: 15 }, (_, i) => 4 * 2 ** i),
  );
  for (const { size, count, time, algbw, busbw, wrong } of result.rows) {
    expect([count, wrong]).toEqual([size / 4, 0]);
    expect(algbw).toBeCloseTo(size / time / 1e3, 6);
    expect(busbw).toBeCloseTo((algbw * 2 * (workers - 1)) / workers, 6);
  }
  return result;
}

test.each([
  [1, "", []],
  [2, "", ["shared memory"]],
  [3, "1", ["Unix socket", "Unix socket", "Unix socket"]],
])("%d ranks, ONEHOUR_SHM_DISABLE=%s", async (workers, disabled, links) => {
  const run = await onehour([...small, "--workers", `${workers}`, "--json"], {
    env: { ONEHOUR_SHM_DISABLE: disabled },
  });
  expect(run).toMatchObject({ status: 0, stderr: "" });
  expect(parsed(run.stdout, workers).links.map(({ link }) => link)).toEqual(links);
});

test("rows are printed as they are measured, the rest once they are", async () => {
  const run = start([process.execPath, main, "bench", "all-reduce", "--workers", "2"]);
  await until(() => run.stdout.includes(" 1024 "));
  expect(run.stdout).toMatch(/^all-reduce of 2 ranks, in place, in the memory of .*\n\n +size /);
  expect(run.stdout).not.toContain("average");
  const { status, stdout } = await run.ended;
  expect(status).toBe(0);
  expect(stdout.match(/^ *\d+ +\d+ +float +sum( +[\d.]+){3} +0$/gm)).toHaveLength(19);
  expect(stdout.match(/ size /g)).toHaveLength(1);
  expect(stdout).toMatch(/\n\nranks 0–1: shared memory\naverage bus bandwidth: .* GB\/s\n$/);
});

test("two nodes: the ranks reach each other by TCP, and node 0 prints", async () => {
  const port = await freePort();
  const node = (rank: number) =>
    start(
      [
        ...[process.execPath, main, ...small, "--json", "--nodes", "2", "--node-rank", `${rank}`],
        ...["--workers-per-node", "1", "--rendezvous", `127.0.0.1:${port}`],
      ],
      { env: { ONEHOUR_HOST: `127.0.0.${rank + 1}` } },
    );
  const [first, second] = [node(0), node(1)];
  expect(await second.ended, second.stderr).toMatchObject({ status: 0, stdout: "" });
  expect(await first.ended, first.stderr).toMatchObject({ status: 0 });
  const [link] = parsed(first.stdout, 2).links;
  expect(link!.link).toMatch(/^TCP to 127\.0\.0\.\d:\d+$/);
});

test("a script under a launch measures its own ranks", async () => {
  writeFiles(folder, {
    "measure.mjs": `import { allReduceBench } from ${JSON.stringify(join(import.meta.dirname, "../../dist/index.js"))};
const result = await allReduceBench({ minBytes: 4, maxBytes: 2 ** 16, device: "cpu" });
if (result) console.log(JSON.stringify(result));
`,
  });
  const run = await onehour(["launch", "--workers", "2", join(folder, "measure.mjs")]);
  expect(run.status, run.stderr).toBe(0);
  parsed(run.stdout, 2);
});

test("what onRow throws is what the call rejects with, once the ranks have ended", async () => {
  writeFiles(folder, {
    "throwing.mjs": `import { allReduceBench } from ${JSON.stringify(join(import.meta.dirname, "../../dist/index.js"))};
let calls = 0;
const onRow = () => {
  calls += 1;
  throw new Error("no more rows");
};
await allReduceBench({ minBytes: 4, maxBytes: 8, device: "cpu", onRow }).catch(({ message }) => {
  console.log(message, calls);
});
`,
  });
  const run = start([process.execPath, join(folder, "throwing.mjs")]);
  expect(await run.ended).toMatchObject({ status: 0, stdout: "no more rows 1\n", stderr: "" });
});

test("a rank that is killed ends it with its name", async () => {
  const run = start([process.execPath, main, "bench", "all-reduce", "--workers", "2"]);
  await until(() => childrenOf(run.child.pid!).length === 2);
  process.kill(childrenOf(run.child.pid!)[1]!, "SIGKILL");
  const { status, stderr, stdout } = await run.ended;
  expect(status).toBe(1);
  expect(stdout).not.toContain("average");
  expect(stderr).toMatch(/^onehour: rank [01]: .*SIGKILL/m);
});

test("a sum that one rank got wrong is counted, and refused", async () => {
  const dist = join(import.meta.dirname, "../../dist");
  const from = (file: string) => JSON.stringify(join(dist, file));
  writeFiles(folder, {
    "wrong.mjs": `import { connect, openDevice } from ${from("index.js")};
import { measureAllReduce } from ${from("bench/all-reduce.js")};
const world = await connect();
using device = openDevice({ device: "cpu" });
const good = await world.communicator("bench", 2, device);
const bad = {
  barrier: () => good.barrier(),
  async allReduce(array) {
    await good.allReduce(array);
    const sums = await array.read();
    sums[3] += world.rank; // on rank 1
    await array.write(sums);
  },
};
const rows = await measureAllReduce(world, device, bad, [16, 64]);
if (world.rank === 0) console.log(JSON.stringify(rows.map(({ wrong }) => wrong)));
await world.close();
`,
  });
  const run = await onehour(["launch", "--workers", "2", join(folder, "wrong.mjs")]);
  expect(run, run.stderr).toMatchObject({ status: 0, stdout: "[1,1]\n" });
});

test("an interrupt ends it by the signal's status and leaves nothing behind", async () => {
  const own = join(folder, "tmp");
  mkdirSync(own);
  const run = start([process.execPath, main, "bench", "all-reduce", "--workers", "2"], {
    env: { TMPDIR: own },
  });
  await until(() => childrenOf(run.child.pid!).length === 2);
  run.child.kill("SIGINT");
  const { status, stderr } = await run.ended;
  expect(status).toBe(130);
  expect(stderr).toBe("onehour: SIGINT ended the benchmark\n");
  expect(readdirSync(own)).toEqual([]);
});
