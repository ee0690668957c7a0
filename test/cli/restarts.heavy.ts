// Kills parts of runs that may start again: they go on from the last checkpoint, on the nodes that are left, or
// end where no other start helps.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { logOf, stepsOf, temporaryFolder } from "../support/folder.js";
import { childrenOf, lastLine, type Run, start, until } from "../support/process.js";
import { main, onehour } from "./command.js";
import { onNodes, stepped, tiny } from "./nodes.js";

const folder = temporaryFolder();

const losses = (out: string) => stepsOf(out).map(({ loss }) => loss);
const restarts = (out: string) => logOf(out).filter(({ type }) => type === "restart");
const workerOf = ({ child }: Run, local = 0) => childrenOf(child.pid!)[local]!;
const kill = (pid: number) => process.kill(pid, "SIGKILL");

/** The losses of the run without faults. */
async function unbroken(words: readonly string[], name: string): Promise<number[]> {
  const out = join(folder, name);
  expect(await onehour([...words, "--out", out])).toMatchObject({ status: 0 });
  return losses(out);
}

/** Fewer workers compute the same steps, but for rounding, which grows from step to step after the first restart. */
async function expectRounded(out: string, workers: number): Promise<void> {
  const { step } = restarts(out)[0] as { step: number };
  const whole = [...tiny(1e5), "--workers", `${workers}`, "--steps", `${step + 4}`];
  const expected = await unbroken(whole, `${workers} unbroken`);
  const computed = losses(out).slice(0, step + 4);
  expect(computed.slice(0, step)).toEqual(expected.slice(0, step));
  for (const [i, value] of computed.entries()) expect(value).toBeCloseTo(expected[i]!, 4);
}

test("a worker that is killed, on one machine: all start again and compute the same", async () => {
  const words = [...tiny(100), "--workers", "2"]; // seconds, of which the kill comes within the first
  const out = join(folder, "one-machine");
  const run = start([process.execPath, main, ...words, "--out", out, "--max-restarts", "1"]);
  await stepped(out, 20);
  kill(workerOf(run, 1));
  expect(await run.ended, run.stderr).toMatchObject({ status: 0 });
  expect(run.stdout).toMatch(/^restart 1, after a failure: rank 1: was killed \(SIGKILL\)/m);
  expect(restarts(out)).toMatchObject([
    { count: 1, workers: 2, nodes: [0], standBy: [], cause: expect.stringContaining("SIGKILL") },
  ]);
  expect(losses(out)).toEqual(await unbroken(words, "one-machine-unbroken"));
});

test("more failures than restarts end the run, and the last line says so", async () => {
  const out = join(folder, "too-many");
  const words = [...tiny(1e5), "--workers", "2", "--max-restarts", "1", "--out", out];
  const run = start([process.execPath, main, ...words]);
  await stepped(out, 20);
  kill(workerOf(run, 1));
  await until(() => run.stdout.includes("restart 1"));
  await until(() => run.stdout.includes(`continuing ${out}`));
  kill(workerOf(run, 0));
  expect(await run.ended).toMatchObject({ status: 1 });
  expect(lastLine(run.stderr)).toMatch(
    /rank 0: was killed \(SIGKILL\).*It is not restarted: the run was restarted once within an hour$/,
  );
});

test("a lost node's work goes to the others, and it is taken in again when it is back", async () => {
  const out = join(folder, "fewer");
  const words = [...tiny(1e5), "--max-restarts", "9", "--min-nodes", "1"];
  const startOne = await onNodes(words, { flags: (node) => (node === 0 ? ["--out", out] : []) });
  const [first, second] = [startOne(0), startOne(1)];
  await stepped(out, 20);
  second.child.kill("SIGKILL");
  await until(() => first.stdout.includes("the run goes on with 1 node, 1 worker in all"));
  await until(() => first.stdout.includes(`continuing ${out}`));
  const back = startOne(1);
  await until(() => back.stdout.includes("node 1 of 2 stands by: the run goes on without it"));
  kill(workerOf(first));
  await until(() => back.stdout.includes("rank 1 of the run that node 0"));
  await until(() => first.stdout.split(`continuing ${out}`).length === 3);
  first.child.kill("SIGTERM");
  for (const run of [first, back]) expect(await run.ended).toMatchObject({ status: 143 });
  expect(restarts(out)).toMatchObject([
    { count: 1, workers: 1, nodes: [0], standBy: [] },
    { count: 2, workers: 2, nodes: [0, 1], standBy: [] },
  ]);
  await expectRounded(out, 2);
});

test("nodes whose workers do not divide the minibatch stand by, until all are here again", async () => {
  const out = join(folder, "odd-nodes");
  const words = [...tiny(1e5), "--accumulate", "1", "--max-restarts", "2", "--min-nodes", "1"];
  const flags = (node: number) => (node === 0 ? ["--out", out] : []);
  const startOne = await onNodes(words, { nodes: 3, flags });
  const [first, second, third] = [startOne(0), startOne(1), startOne(2)];
  await stepped(out, 20);
  third.child.kill("SIGKILL");
  const fewer = "the run goes on with 1 node, 1 worker in all";
  await until(() => first.stdout.includes(`${fewer}; node 1 stands by`));
  await until(() => second.stdout.includes(`node 1 of 3 stands by: ${fewer}`));
  await until(() => first.stdout.includes(`continuing ${out}`));
  const back = startOne(2);
  await until(() => back.stdout.includes("node 2 of 3 stands by: the run goes on without it"));
  kill(workerOf(first));
  await until(() => second.stdout.includes("restart 2") && back.stdout.includes("restart 2"));
  await until(() => first.stdout.split(`continuing ${out}`).length === 3);
  first.child.kill("SIGTERM");
  for (const run of [first, second, back]) expect(await run.ended).toMatchObject({ status: 143 });
  expect(restarts(out)).toMatchObject([
    { count: 1, workers: 1, nodes: [0], standBy: [1] },
    { count: 2, workers: 3, nodes: [0, 1, 2], standBy: [] },
  ]);
  await expectRounded(out, 3);
});

test("node 0's supervisor may be started anew, and the others wait for it", async () => {
  const out = join(folder, "lead");
  const words = [...tiny(1e5), "--max-restarts", "9", "--resume", "auto", "--out", out];
  const startOne = await onNodes(words);
  const [first, second] = [startOne(0), startOne(1)];
  await stepped(out, 20);
  first.child.kill("SIGKILL");
  await until(() => /Waiting 600 s for it to come back/.test(second.stdout));
  const back = startOne(0);
  await until(() => back.stdout.includes(`continuing ${out}`));
  back.child.kill("SIGTERM");
  for (const run of [back, second]) expect(await run.ended).toMatchObject({ status: 143 });
});

test("an error at the same step twice in a row is not restarted", async () => {
  const words = [...tiny(1), "--lr", "1e25", "--max-restarts", "5"];
  const { status, stdout, stderr } = await onehour([...words, "--out", join(folder, "odd")]);
  expect(stdout).toMatch(/^restart 1, after a failure: rank 0: step \d is not finite/m);
  expect(stdout).not.toContain("restart 2");
  expect(lastLine(stderr)).toMatch(
    /step \d is not finite.*It is not restarted: the same happened at the same step before the last restart/,
  );
  expect(status).toBe(1);
});

test("a script is told how often it was started again", async () => {
  const script = join(folder, "again.mjs");
  writeFileSync(
    script,
    `const { ONEHOUR_RESTART = "0" } = process.env;
console.log("restart", ONEHOUR_RESTART);
if (ONEHOUR_RESTART !== "2") process.exit(3);\n`,
  );
  const { status, stdout } = await onehour(["launch", "--max-restarts", "2", script]);
  expect(stdout.match(/^restart \d/gm)).toEqual(["restart 0", "restart 1", "restart 2"]);
  expect(status).toBe(0);
});
