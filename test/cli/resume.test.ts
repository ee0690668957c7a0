// One command for start and restart where an engine starts the ranks: each has a disk of its own, rank 0 may move,
// and the number of ranks is that of the workers.
import { cpSync, existsSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { recipeOf, stepsOf, temporaryFolder } from "../support/folder.js";
import { type Ended, freePort, torchrun } from "../support/process.js";
import { onehour } from "./command.js";

const folder = temporaryFolder();
const host = hostname();
const common = ["synthetic:12x12x1:4:64", "--batch", "8", "--threads", "1", "--seed", "3"];

/** Runs one command as two ranks, each with its own folder. */
async function ranks(outs: readonly [string, string], ...flags: string[]): Promise<Ended[]> {
  const port = await freePort();
  return await Promise.all(
    outs.map((out, rank) =>
      onehour(["train", ...common, ...flags, "--out", out], {
        env: { ...torchrun(rank, port), ONEHOUR_TOKEN: "between us" },
      }),
    ),
  );
}

/** The same, where both must succeed; what rank 0 said. */
async function trainedBy(outs: readonly [string, string], ...flags: string[]): Promise<string> {
  const [first, second] = await ranks(outs, ...flags);
  for (const { status, stderr } of [first!, second!]) {
    expect(stderr).toBe("");
    expect(status).toBe(0);
  }
  return first!.stdout;
}

const places = (name: string) => [join(folder, `${name}-a`), join(folder, `${name}-b`)] as const;

test("rank 0 moves to a machine without the run, and back to one with an older copy", async () => {
  const [whole] = places("whole");
  await trainedBy([whole, whole], "--steps", "10");
  const [a, b] = places("moves");
  const auto = ["--resume", "auto", "--steps"];
  expect(await trainedBy([a, b], ...auto, "3")).toMatch(`run folder: ${a}`);
  expect(existsSync(b)).toBe(false);

  const moved = await trainedBy([b, a], ...auto, "7");
  expect(moved).toMatch(
    `the run's newest checkpoint, after 3 steps, lies in ${a} on ${host}: copying the run to ${b} on ${host}`,
  );
  expect(moved).toMatch(`continuing ${b} after 3 steps`);
  expect(stepsOf(a).length).toBe(3); // rank 0 alone writes

  const back = await trainedBy([a, b], ...auto, "10");
  expect(back).toMatch(`after 7 steps, lies in ${b}`);
  expect(back).toMatch(`continuing ${a} after 7 steps`);
  expect(stepsOf(a)).toEqual(stepsOf(whole));
  expect(recipeOf(b).id).toBe(recipeOf(a).id);

  // A folder that both see, with --resume itself.
  expect(await trainedBy([a, a], "--resume", "--steps", "11")).toMatch(`continuing ${a} after 10`);
  // And only now the other way round: nothing is copied where rank 0 has the newest.
  expect(await trainedBy([a, b], ...auto, "12")).not.toMatch("copying");
});

test("a run of one worker goes on as two ranks", async () => {
  const [out, other] = places("more");
  const flags = ["--accumulate", "2", "--steps", "3", "--out", out];
  expect(await onehour(["train", ...common, ...flags])).toMatchObject({ status: 0, stderr: "" });
  const before = stepsOf(out);
  expect(await trainedBy([out, other], "--resume", "--steps", "6")).toMatch("minibatch 2 × 1 × 8");
  expect(stepsOf(out).slice(0, 3)).toEqual(before);
  expect(recipeOf(out)).toMatchObject({ workers: 2, accumulate: 1 });
  const three = await ranks([out, other], "--resume", "--workers", "3");
  for (const { stderr } of three)
    expect(stderr).toMatch(/--workers: the launcher started 2 processes, not 3/);
});

test("another run at another rank's path is refused by every rank, and so is a start", async () => {
  const [a, b] = places("two");
  for (const out of [a, b])
    await onehour(["train", ...common, "--accumulate", "2", "--steps", "2", "--out", out]);
  const [own] = places("three");
  cpSync(a, own, { recursive: true });
  for (const { status, stderr } of await ranks([own, b], "--resume", "auto")) {
    expect(stderr).toMatch(`${own} on ${host} and ${b} on ${host} hold two different runs`);
    expect(status).toBe(2);
  }
  const [empty] = places("empty");
  for (const { status, stderr } of await ranks([empty, b])) {
    expect(stderr).toMatch(
      `${b} on ${host} holds a run already (recipe.json); continue it with --`,
    );
    expect(status).toBe(2);
  }
  for (const { status, stderr } of await ranks([empty, `${empty}-too`], "--resume")) {
    expect(stderr).toMatch(`${empty} on ${host} holds no run to resume`);
    expect(status).toBe(2);
  }
  expect(existsSync(empty)).toBe(false);
});
