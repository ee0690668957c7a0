// Resumes runs: ten steps and ten more are twenty steps, bit for bit; after signals too, but not
// from broken or foreign checkpoints.
import {
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { RecipeInput } from "../../lib/recipe/fields.js";
import { checkpointName as checkpoint, readCheckpoint } from "../../lib/run-folder/checkpoint.js";
import type { Result } from "../../lib/train/events.js";
import { logOf, recipeOf, stepsOf } from "../support/folder.js";
import { common, expectSameRun, halfRun, lastingLog } from "../support/half-run.js";
import { childrenOf, lastLine } from "../support/process.js";
import { resumed, trained } from "../support/training.js";
import { trainingFrom } from "./process.js";

const { folder, whole, copyOfHalf } = halfRun();

test("from the middle of an epoch, k = 1", async () => {
  const out = copyOfHalf("resumed");
  const { result } = await resumed(out, { steps: 20 });
  expect(result).toMatchObject({ status: "finished", steps: 20 });
  await expectSameRun(whole, out);
});

test("from the middle of an epoch, k = 2", async () => {
  const two = { ...common, workers: 2, batch: 8 };
  const [wholeOf2, out] = [join(folder, "whole2"), join(folder, "resumed2")];
  await trained({ ...two, steps: 8, out: wholeOf2 });
  await trained({ ...two, steps: 4, out });
  const { ranks, weights } = await readCheckpoint(join(out, checkpoint));
  const means = ranks!.map((own) => own.get("bn1.running_mean")!);
  expect(means[0]).not.toEqual(means[1]);
  const average = means[0]!.map((mean, i) => (mean + means[1]![i]!) / 2);
  expect(weights.get("bn1.running_mean")).toEqual(average);

  await resumed(out, { steps: 8 });
  await expectSameRun(wholeOf2, out);
  expect(stepsOf(out).length).toBe(8);

  const again = await resumed(out);
  expect(again.result).toMatchObject({ status: "finished", steps: 8 });
  expect(again.text).toMatch("nothing is left to do: 8 steps are done");
  expect(stepsOf(out).length).toBe(8);
});

test("evaluated after a checkpoint within an epoch, k = 3", async () => {
  // A rate and a test set at which one bit of an average shows in the test loss.
  const dataset = "synthetic:12x12x1:4:1600";
  const three = { ...common, dataset, lr: 4, workers: 3, batch: 5, checkpointMinutes: 1e-7 };
  const [wholeOf3, out] = [join(folder, "whole3"), join(folder, "within3")];
  await trained({ ...three, steps: 14, out });
  // The previous one is of an earlier step, as if the run had been killed right after it.
  copyFileSync(join(out, "checkpoint.previous.safetensors"), join(out, checkpoint));
  const { step: steps } = (await readCheckpoint(join(out, checkpoint))).position!;
  expect(steps).toBeLessThan(14);
  const log = readFileSync(join(out, "log.jsonl"), "utf8");
  writeFileSync(join(out, "log.jsonl"), log.replace(/.*"end".*\n/, ""));
  await resumed(out, { steps });
  await trained({ ...three, steps, out: wholeOf3 });
  expect(lastingLog(out)).toEqual(lastingLog(wholeOf3));
  const [a, b] = await Promise.all(
    [wholeOf3, out].map((name) => readCheckpoint(join(name, checkpoint))),
  );
  expect(b!.weights).toEqual(a!.weights);
});

test('"auto" starts a run where there is none, and continues the one that there is', async () => {
  const out = join(folder, "auto");
  const auto = (changes: RecipeInput) =>
    trained({ ...common, ...changes, out }, { resume: "auto" });
  expect((await auto({ steps: 10 })).text).toMatch(`run folder: ${out}`);
  expect((await auto({ steps: 20 })).text).toMatch(`continuing ${out} after 10 steps`);
  await expectSameRun(whole, out);
  expect((await auto({ steps: 20 })).text).toMatch("nothing is left to do: 20 steps are done");
  await expect(auto({ lr: 0.2 })).rejects.toThrow(/lr is 0\.1 in .*recipe\.json, and 0\.2 was/);
  await expect(trained(common, { resume: "auto" })).rejects.toThrow(/^resume: name the run folder/);

  // What is left of a run is neither continued nor written over.
  rmSync(join(out, "recipe.json"));
  await expect(auto({})).rejects.toThrow(/auto holds log\.jsonl, but not the recipe\.json/);
});

test("lines after the checkpoint are dropped", async () => {
  const out = copyOfHalf("after");
  const log = readFileSync(join(whole, "log.jsonl"), "utf8");
  writeFileSync(join(out, "log.jsonl"), `${log}{"type":"step","step":20,"lo`);
  await resumed(out, { steps: 20 });
  await expectSameRun(whole, out);
});

test("with the last checkpoint torn, it continues from the one before and says so", async () => {
  const out = copyOfHalf("torn");
  await resumed(out, { steps: 20 });
  truncateSync(join(out, checkpoint), 1000);
  const { text } = await resumed(out, { steps: 20 });
  expect(text).toMatch(/checkpoint\.safetensors.*checkpoint\.previous/);
  await expectSameRun(whole, out);
});

test("killed before its first checkpoint, a run begins again", async () => {
  const out = copyOfHalf("early");
  rmSync(join(out, checkpoint));
  rmSync(join(out, "checkpoint.previous.safetensors"), { force: true });
  await resumed(out, { steps: 20 });
  await expectSameRun(whole, out);
});

test("the same minibatch may be given again, but not another", async () => {
  const out = copyOfHalf("named");
  await expect(resumed(out, { minibatch: 32 })).rejects.toThrow(/minibatch is 16 in .*and 32/);
  const { result } = await resumed(out, { minibatch: 16, steps: 11 });
  expect(result.steps).toBe(11);
});

test("a finished run is left as it is", async () => {
  const read = () =>
    ["log.jsonl", "recipe.json"].map((name) => readFileSync(join(whole, name), "utf8"));
  const before = read();
  for (const steps of [undefined, 10]) {
    const { result, events, text } = await resumed(whole, { steps });
    expect(text).toMatch(/nothing is left to do: 20 steps.*more than steps: 20/);
    expect(result).toMatchObject({ status: "finished", steps: 20 });
    expect(read()).toEqual(before);
    expect(events.at(-1)).toMatchObject({ type: "end", status: "finished", result });
  }
});

test("a run to the end of its epochs has no --steps to raise", async () => {
  const out = copyOfHalf("complete");
  await resumed(out, { steps: 100 });
  const { result, text } = await resumed(out);
  expect(result.steps).toBe(42);
  expect(text).toMatch(/nothing is left to do: 42 steps are done$/m);
});

test("a run stopped after an evaluation leaves no temporary files when it resumes", async () => {
  const out = copyOfHalf("after-evaluation");
  await resumed(out, { steps: 14 }); // an epoch, the best so far
  const log = readFileSync(join(out, "log.jsonl"), "utf8");
  writeFileSync(join(out, "log.jsonl"), log.replace(/.*"end".*\n/, ""));
  await resumed(out, { steps: 14 });
  expect(readdirSync(out).filter((name) => name.endsWith(".tmp"))).toEqual([]);
});

test("an interrupted run cannot end before the steps it has done", async () => {
  const out = copyOfHalf("passed");
  const log = readFileSync(join(out, "log.jsonl"), "utf8");
  writeFileSync(join(out, "log.jsonl"), log.replace('"finished"', '"interrupted"'));
  await expect(resumed(out, { steps: 5 })).rejects.toThrow(/10 steps of .*passed are done/);
});

test("a folder that cannot be resumed is refused and left untouched", async () => {
  const out = copyOfHalf("refused");
  const lr = resumed(out, { lr: 0.2 });
  await expect(lr).rejects.toThrow(/lr is 0\.1 in .*recipe\.json, and 0\.2 was asked for/);
  await expect(trained({ ...common, out })).rejects.toThrow(/holds a run already.*resume: true/);
  await expect(resumed(join(folder, "nothing"))).rejects.toThrow(/no run to resume/);

  copyFileSync(join(whole, "log.jsonl"), join(out, checkpoint));
  const foreign = readFileSync(join(out, checkpoint));
  rmSync(join(out, "checkpoint.previous.safetensors"), { force: true });
  await expect(resumed(out)).rejects.toThrow(join(out, checkpoint));
  expect(readFileSync(join(out, checkpoint))).toEqual(foreign);
});

test("the first command with --resume added continues the run", async () => {
  const before = process.cwd();
  process.chdir(folder);
  try {
    mkdirSync("idx");
    for (const [part, images] of [["train", 64] as const, ["t10k", 8] as const]) {
      const labels = Buffer.from([0, 0, 8, 1, 0, 0, 0, images, ...Array(images).keys()]);
      for (let i = 8; i < labels.length; i++) labels[i]! %= 10;
      const head = [0, 0, 8, 3, 0, 0, 0, images, 0, 0, 0, 28, 0, 0, 0, 28];
      writeFileSync(
        join("idx", `${part}-images-idx3-ubyte`),
        Buffer.concat([Buffer.from(head), Buffer.alloc(images * 784)]),
      );
      writeFileSync(join("idx", `${part}-labels-idx1-ubyte`), labels);
    }
    const first = { ...common, dataset: "fashion-mnist:idx", milestones: [1.5, 0.75] };
    await trained({ ...first, steps: 1, out: "first" });
    const init = join("first", checkpoint);
    await trained({ ...first, init, steps: 1, out: "second" });
    const { result } = await trained({ ...first, init, steps: 2, out: "second" }, { resume: true });
    expect(result.steps).toBe(2);
    const kept = recipeOf("second");
    expect(kept).toMatchObject({
      dataset: `fashion-mnist:${join(folder, "idx")}`,
      milestones: [0.75, 1.5],
      init: join(folder, init),
    });
    const other = trained({ ...first, init, milestones: [1], out: "second" }, { resume: true });
    await expect(other).rejects.toThrow(
      /milestones is \[ 0\.75, 1\.5 \] in .*and \[ 1 \] was asked for/,
    );
  } finally {
    process.chdir(before);
  }
});

/** The process of a rank below `launcher`. */
const workerOf = (launcher: number, rank: number) =>
  childrenOf(launcher).find((pid) =>
    readFileSync(`/proc/${pid}/environ`, "utf8").split("\0").includes(`ONEHOUR_RANK=${rank}`),
  )!;

/** Trains in a process of its own, and signals it, or one of its workers, once `step` is done. */
async function interrupt(
  recipe: RecipeInput & { out: string },
  { signal, step, rank }: { signal: NodeJS.Signals; step: number; rank?: number | undefined },
): Promise<Result> {
  const { child, ended } = await trainingFrom(recipe, step);
  process.kill(rank === undefined ? child.pid! : workerOf(child.pid!, rank), signal);
  return JSON.parse(lastLine((await ended).stdout));
}

test.each<{ workers: number; signal: NodeJS.Signals; rank?: number }>([
  { workers: 1, signal: "SIGTERM" },
  { workers: 2, signal: "SIGTERM" },
  { workers: 1, signal: "SIGINT" },
  { workers: 1, signal: "SIGUSR1" },
  { workers: 2, signal: "SIGTERM", rank: 0 },
  { workers: 2, signal: "SIGINT", rank: 1 },
])("$signal of $workers workers, to rank $rank: the step is finished and saved", async (row) => {
  const { workers, signal, rank } = row;
  const out = join(folder, `signal-${workers}-${signal}-${rank}`);
  const recipe = { ...common, workers, batch: 16 / workers, epochs: 1000, milestones: [], out };
  const result = await interrupt(recipe, { signal, rank, step: 20 }); // in the second epoch
  expect(result).toMatchObject({ status: "interrupted", signal, out });
  expect(result.steps).toBeGreaterThan(20);
  const { position } = await readCheckpoint(join(out, checkpoint));
  expect(position?.step).toBe(result.steps);
  const log = logOf(out);
  expect(log.at(-1)).toMatchObject({ type: "end", status: "interrupted", steps: result.steps });
  expect(stepsOf(out).map(({ step }) => step)).toEqual(
    Array.from({ length: result.steps }, (_, i) => i),
  );
});
