// A script's own loop takes the steps that train takes, with the rate, the loss and the gradients at hand.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import type { RecipeInput } from "../../lib/recipe/fields.js";
import { Trainer } from "../../lib/train/own-loop.js";
import { train } from "../../lib/train/train.js";
import { onehour, temporaryFolder } from "../cli/command.js";

const folder = temporaryFolder();
const common: RecipeInput = {
  dataset: "synthetic:12x12x1:4:96",
  model: "resnet8",
  batch: 16,
  epochs: 2,
  threads: 1,
  device: "cpu",
};

/** The steps of a run's log. */
const stepsOf = (out: string) =>
  readFileSync(join(out, "log.jsonl"), "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line))
    .filter(({ type }) => type === "step")
    .map(({ step, epoch, lr, loss }) => ({ step, epoch, lr, loss }));

test.each<RecipeInput>([{}, { accumulate: 2, momentumForm: "velocity", milestones: [1] }])(
  "the same losses as a run, bit for bit: %j",
  async (changes) => {
    const recipe = { ...common, ...changes };
    const out = join(folder, JSON.stringify(changes).replace(/\W/g, ""));
    const { top1 } = await train({ ...recipe, out }, { output: null });
    using trainer = await Trainer.open(recipe);
    const taken = [];
    for (let step = 0; step < trainer.steps; step++) taken.push(await trainer.step());
    expect(taken).toEqual(stepsOf(out));
    expect(trainer.done).toBe(trainer.steps);
    expect((await trainer.evaluate()).top1).toBe(top1);
  },
);

test("a step moves the weights against its gradients, by the rate that it is given", async () => {
  const plain = { momentum: 0, nesterov: false, weightDecay: 0, epochs: 1 };
  using trainer = await Trainer.open({ ...common, ...plain });
  const before = await trainer.weights();
  expect(trainer.rate()).toBeCloseTo(0.1 * (16 / 256));
  const { lr } = await trainer.step({ lr: 0.5 });
  expect(lr).toBe(0.5);
  const [after, gradients] = [await trainer.weights(), await trainer.gradients()];
  let moved = 0;
  for (const [name, gradient] of gradients) {
    const [w, v] = [before.get(name)!, after.get(name)!];
    gradient.forEach((g, i) => {
      expect(v[i]! - w[i]!).toBeCloseTo(-0.5 * g, 5);
      moved += Number(g !== 0);
    });
  }
  expect(moved).toBeGreaterThan(1000);
});

test("two ranks take the steps of two workers", async () => {
  const recipe = { ...common, workers: 2, batch: 8, syncBatchNorm: -1 };
  const out = join(folder, "two");
  const { top1 } = await train({ ...recipe, out }, { output: null });
  const script = join(folder, "two.ts");
  writeFileSync(
    script,
    `import { connect, Trainer } from "onehour";
const world = await connect();
{
  using trainer = await Trainer.open(${JSON.stringify(recipe)}, { world });
  const taken = [];
  for (let step = 0; step < trainer.steps; step++) taken.push(await trainer.step());
  const { top1 } = await trainer.evaluate();
  if (world.rank === 0) console.log(JSON.stringify({ taken, top1 }));
}
await world.close();\n`,
  );
  const { status, stdout, stderr } = await onehour(["launch", "--workers", "2", script]);
  expect(stderr).toBe("");
  expect(status).toBe(0);
  expect(JSON.parse(stdout)).toEqual({ taken: stepsOf(out), top1 });
});

test("what it cannot do is refused", async () => {
  await expect(Trainer.open({ ...common, workers: 2 })).rejects.toThrow(/^workers: the launcher/);
  await expect(Trainer.open({ learningRate: 1 } as never)).rejects.toThrow(/did you mean lr\?/);
  await expect(Trainer.open({ ...common, init: "none" })).rejects.toThrow(/^init: cannot read/);
  using trainer = await Trainer.open({ ...common, accumulate: 2 });
  await trainer.step();
  await expect(trainer.gradients()).rejects.toThrow(/leaves no gradients; expected accumulate: 1/);
});

test("the example runs, in less than 40 lines", async () => {
  const file = fileURLToPath(new URL("../../examples/own-loop.ts", import.meta.url));
  expect(readFileSync(file, "utf8").trimEnd().split("\n").length).toBeLessThan(40);
  const { status, stdout, stderr } = await onehour(["launch", "--workers", "1", file]);
  expect(stderr).toBe("");
  expect(status).toBe(0);
  expect(stdout).toMatch(/^step 0: loss 2\.\d+, rate 0\.\d+, gradients \d/m);
  expect(stdout).toMatch(/^(\d+) of 512 correct/m);
});

test("a rate that is none is refused, and so is a step beside another", async () => {
  using trainer = await Trainer.open(common);
  for (const lr of [Number.NaN, -1, Number.POSITIVE_INFINITY, "0.1" as never])
    await expect(trainer.step({ lr })).rejects.toThrow(
      /expected a learning rate of 0 or more, got/,
    );
  const first = trainer.step();
  await expect(trainer.step()).rejects.toThrow(/await trainer\.step\(\)/);
  expect(await first).toMatchObject({ step: 0 });
  expect(await trainer.step()).toMatchObject({ step: 1 });
});
