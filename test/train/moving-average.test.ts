// The moving average of the weights: what it is after each step, saved, resumed, tested and refused.
import { rmSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { checkpointName, readCheckpoint } from "../../lib/run-folder/checkpoint.js";
import { evaluateCheckpoint } from "../../lib/train/evaluate.js";
import { Trainer } from "../../lib/train/own-loop.js";
import { logOf, temporaryFolder } from "../support/folder.js";
import { small, trained } from "../support/training.js";

const folder = temporaryFolder();
const dataset = "synthetic:12x12x1:4:32";
const common = { ...small, dataset, batch: 8, lr: 0.4, emaDecay: 0.75 } as const;
const averageIn = async (out: string) => (await readCheckpoint(join(out, checkpointName))).ema!;

test("it is that of every second step's weights and statistics, the first of which it copies", async () => {
  const out = join(folder, "trainer");
  using trainer = await Trainer.open({ ...common, emaSteps: 2, out });
  let expected = new Map<string, Float32Array>();
  for (let step = 0; step < 6; step++) {
    await trainer.step();
    if (step % 2 !== 0) continue;
    const now = await trainer.weights();
    const moved = ([name, values]: [string, Float32Array]) =>
      [name, values.map((w, i) => 0.75 * (expected.get(name)?.[i] ?? w) + 0.25 * w)] as const;
    expected = new Map([...now].map(moved));
  }
  await trainer.save();
  const { weights, updates } = await averageIn(out);
  expect(updates).toBe(3);
  expect([...weights.keys()].sort()).toEqual([...expected.keys()].sort());
  for (const [name, values] of weights)
    for (const [i, value] of values.entries())
      expect(Math.abs(value - expected.get(name)![i]!), name).toBeLessThan(1e-6);
});

test("a loop of one's own tests, saves and resumes it as a run has it", async () => {
  const [whole, out] = [join(folder, "run"), join(folder, "loop")];
  await trained({ ...common, epochs: 1, out: whole });
  {
    using trainer = await Trainer.open({ ...common, epochs: 1, out });
    while (trainer.done < 2) await trainer.step();
    await trainer.save();
  }
  using trainer = await Trainer.open({ out }, { resume: true });
  while (trainer.done < trainer.steps) await trainer.step();
  await trainer.save();
  expect(await averageIn(out)).toEqual(await averageIn(whole));
  const epoch = logOf(whole).findLast(({ type }) => type === "epoch");
  const { top1, loss } = await trainer.evaluate({ ema: true });
  expect(epoch).toMatchObject({ emaTop1: top1, emaTestLoss: loss });
  expect((await trainer.evaluate()).loss).not.toBe(loss);
});

test.each(["bf16", "fp16"] as const)(
  "in %s it is f32, and products read its copies",
  async (precision) => {
    const out = join(folder, precision);
    const run = { ...common, precision, steps: 6, epochs: 1, out };
    await trained(run);
    const line = logOf(out).find(({ type }) => type === "epoch");
    const evaluated = await evaluateCheckpoint(out, undefined, {
      device: "cpu",
      threads: 1,
      precision,
      ema: true,
    });
    expect(line).toMatchObject({ emaTop1: evaluated.top1 });
  },
);

test("what cannot be is refused", async () => {
  const out = join(folder, "without");
  await expect(trained({ ...common, emaDecay: undefined, emaSteps: 2, out })).rejects.toThrow(
    /emaSteps: there is no average without/,
  );
  await trained({ ...small, dataset, steps: 1, out });
  await expect(evaluateCheckpoint(out, undefined, { ema: true })).rejects.toThrow(
    /holds no moving average of the weights/,
  );
  rmSync(out, { recursive: true });
  using trainer = await Trainer.open({ ...small, dataset });
  await expect(trainer.evaluate({ ema: true })).rejects.toThrow(/^emaDecay: give the moving/);
  await expect(trainer.evaluate({ average: true } as never)).rejects.toThrow(
    'evaluate has no option "average"; its options are ema',
  );
});
