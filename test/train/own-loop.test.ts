// Trains in a script's own loop: the steps are train's, with the rate, the loss and the gradients
// at hand.
import { cpSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import type { RecipeInput } from "../../lib/recipe/fields.js";
import { checkpointName, readCheckpoint } from "../../lib/run-folder/checkpoint.js";
import { evaluateCheckpoint } from "../../lib/train/evaluate.js";
import { Trainer } from "../../lib/train/own-loop.js";
import { compileRun, train } from "../../lib/train/train.js";
import { onehour } from "../cli/command.js";
import { logOf, stepsOf, temporaryFolder } from "../support/folder.js";
import { small, trained } from "../support/training.js";

const folder = temporaryFolder();
const common: RecipeInput = {
  ...small,
  dataset: "synthetic:12x12x1:4:96",
  batch: 16,
  epochs: 2,
};

test.each<RecipeInput>([
  {},
  { preciseBatchNorm: 3 },
  { accumulate: 2, momentumForm: "velocity", milestones: [1] },
])("the same losses as a run, bit for bit: %j", async (changes) => {
  const recipe = { ...common, ...changes };
  const out = join(folder, JSON.stringify(changes).replace(/\W/g, ""));
  await trained({ ...recipe, out });
  using trainer = await Trainer.open(recipe);
  const taken = [];
  for (let step = 0; step < trainer.steps; step++) taken.push(await trainer.step());
  expect(taken).toEqual(stepsOf(out));
  expect(trainer.done).toBe(trainer.steps);
  const { top1, loss } = await trainer.evaluate();
  const epoch = logOf(out).findLast(({ type }) => type === "epoch");
  expect(epoch).toMatchObject({ top1, testLoss: loss });
});

test.each([1, 2])(
  "a step moves the weights against its gradients, of %d micro-batches, by its rate",
  async (accumulate) => {
    const plain = { momentum: 0, nesterov: false, weightDecay: 0, epochs: 1 };
    const batch = 16 / accumulate;
    using trainer = await Trainer.open({ ...common, ...plain, batch, accumulate });
    expect(Math.max(...(await trainer.gradients()).get("conv1.weight")!)).toBe(0);
    await trainer.step({ lr: 0 });
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
  },
);

test.each([0, -1])(
  "two ranks take the steps of two workers, also from what they saved, sync-bn %d",
  async (sync) => {
    const recipe = { ...common, workers: 2, batch: 8, syncBatchNorm: sync };
    const out = join(folder, `two${sync}`);
    const {
      result: { top1 },
    } = await trained({ ...recipe, out });
    const script = join(folder, `two${sync}.ts`);
    writeFileSync(
      script,
      `import { connect, Trainer } from "onehour";
const world = await connect();
{
  const out = ${JSON.stringify(`${out}-saved`)};
  const taken = [];
  {
    using trainer = await Trainer.open({ ...${JSON.stringify(recipe)}, out }, { world });
    while (trainer.done < 4) taken.push(await trainer.step());
    await trainer.save();
    for (let i = 0; i < 2; i++) taken.push(await trainer.step()); // saving has changed nothing
  }
  using trainer = await Trainer.open({ out }, { world, resume: true });
  const again = [];
  while (trainer.done < trainer.steps) again.push(await trainer.step());
  if (JSON.stringify(again.slice(0, 2)) !== JSON.stringify(taken.splice(4))) throw new Error("differs");
  taken.push(...again);
  const { top1 } = await trainer.evaluate();
  if (world.rank === 0) console.log(JSON.stringify({ taken, top1 }));
}
await world.close();\n`,
    );
    const { status, stdout, stderr } = await onehour(["launch", "--workers", "2", script]);
    expect(stderr).toBe("");
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toEqual({ taken: stepsOf(out), top1 });
  },
);

test("refuses what it cannot do", async () => {
  await expect(Trainer.open({ ...common, workers: 2 })).rejects.toThrow(/^workers: the launcher/);
  await expect(Trainer.open({ learningRate: 1 } as never)).rejects.toThrow(/did you mean lr\?/);
  await expect(Trainer.open({ ...common, init: "none" })).rejects.toThrow(/^init: cannot read/);
  const untaken: RecipeInput[] = [
    ...[{ trace: 3 }, { tensorboard: true }, { checkpointMinutes: 5 }],
    { noiseScale: true, accumulate: 2 },
  ];
  for (const fields of untaken)
    await expect(Trainer.open({ ...common, ...fields })).rejects.toThrow(
      new RegExp(`^${Object.keys(fields)[0]}: train\\(\\) .* a loop of your own .* Leave it out$`),
    );
  const misspelled = { lrate: 1, resumed: true } as never;
  await expect(Trainer.open(common, misspelled)).rejects.toThrow(
    'Trainer.open has no option "lrate"; its options are world, resume, output, onEvent',
  );
  await expect(train(common, { resumes: true } as never)).rejects.toThrow(
    'train has no option "resumes"; did you mean resume?',
  );
  await expect(train(common, { epochs: 1 } as never)).rejects.toThrow(
    'train has no option "epochs"; it is a field of the recipe, the first argument',
  );
  const nowhere = { ...common, out: join(folder, "nowhere") };
  await expect(Trainer.open(nowhere, { resume: true })).rejects.toThrow(/holds no run to resume/);
  using trainer = await Trainer.open(common);
  await expect(trainer.step({ learningRate: 1 } as never)).rejects.toThrow(/did you mean lr\?$/);
  await expect(trainer.step(0.1 as never)).rejects.toThrow(
    "step takes options, { lr }, and not 0.1",
  );
  const misread = compileRun(common, { resume: "x" } as never);
  await expect(misread).rejects.toThrow(
    'compileRun: resume is "x"; expected true, false or "auto"',
  );
  await expect(trainer.save()).rejects.toThrow("out: name the folder to save in");
});

test.each<[options: unknown, says: string]>([
  [{ resume: "x" }, 'resume is "x"; expected true, false or "auto"'],
  [{ resume: "false" }, 'resume is "false"; expected true, false or "auto"'],
  [{ resume: 1 }, 'resume is 1; expected true, false or "auto"'],
  [{ resume: null }, 'resume is null; expected true, false or "auto"'],
  [{ output: 5 }, "output is 5; expected a stream to write to, or null"],
  [{ onEvent: 5 }, "onEvent is 5; expected a function"],
  [{ world: {} }, "world is {}; expected what connect() resolves to"],
  [5, "output, onEvent }, and not 5"],
  [null, "output, onEvent }, and not null"],
])("options that cannot be are refused: %j", async (options, says) => {
  const out = join(folder, "never-begun");
  const calls = [
    train({ ...common, out }, options as never),
    Trainer.open(common, options as never),
  ];
  for (const refused of await Promise.allSettled(calls))
    expect(refused).toMatchObject({
      reason: { code: "ERR_ONEHOUR_USAGE", message: expect.stringContaining(says) },
    });
  expect(existsSync(out)).toBe(false);
});

test("resumes from its checkpoint bit for bit, and so does train", async () => {
  const recipe = { ...common, accumulate: 2, batch: 8, checkpointMinutes: 0 };
  const [whole, out] = [join(folder, "unbroken"), join(folder, "saved")];
  await trained({ ...recipe, out: whole });
  const taken = [];
  {
    using first = await Trainer.open({ ...recipe, out }, { resume: "auto" });
    while (first.done < 4) taken.push(await first.step());
    await first.save();
    await first.step(); // is lost
    const quiet = { resume: true, output: null };
    await expect(Trainer.open({ ...recipe, out })).rejects.toThrow(/holds a run already/);
    await expect(Trainer.open({ out, timeout: 0.1 }, quiet)).rejects.toThrow(/is in use/);
  }
  cpSync(out, `${out}-by-train`, { recursive: true });
  {
    using second = await Trainer.open({ ...recipe, out }, { resume: "auto" });
    expect(second.done).toBe(4);
    while (second.done < second.steps) taken.push(await second.step());
    await second.save();
  }
  expect(taken).toEqual(stepsOf(whole));
  const state = async (folder: string) => {
    const { weights, momentum, position } = await readCheckpoint(join(folder, checkpointName));
    const { step, epoch, lastLearningRate, lossSum } = position!;
    return { weights, momentum, step, epoch, lastLearningRate, lossSum };
  };
  expect(await state(out)).toEqual(await state(whole));
  const { top1 } = await evaluateCheckpoint(out, undefined, { device: "cpu" });
  expect(top1).toBe((await evaluateCheckpoint(whole, undefined, { device: "cpu" })).top1);

  await trained({ out: `${out}-by-train` }, { resume: true });
  expect(await state(`${out}-by-train`)).toEqual(await state(whole));
  expect(stepsOf(`${out}-by-train`)).toEqual(stepsOf(whole).slice(4));
});

test("takes any rates, also after resuming, and more steps than the recipe's", async () => {
  const out = join(folder, "rates");
  {
    using trainer = await Trainer.open({ ...common, epochs: 0.5, out });
    expect(trainer.steps).toBe(3);
    while (trainer.done < 7) await trainer.step({ lr: 0.01 * trainer.done });
    await trainer.save();
  }
  using trainer = await Trainer.open({ out }, { resume: true });
  expect(await trainer.step({ lr: 0.5 })).toMatchObject({ step: 7, epoch: 1, lr: 0.5 });
});

test("the example runs and resumes, in less than 40 lines", async () => {
  const file = fileURLToPath(new URL("../../examples/own-loop.ts", import.meta.url));
  expect(readFileSync(file, "utf8").trimEnd().split("\n").length).toBeLessThan(40);
  const args = ["launch", "--workers", "1", file, join(folder, "example")];
  const { status, stdout, stderr } = await onehour(args);
  expect(stderr).toBe("");
  expect(status).toBe(0);
  expect(stdout).toMatch(/^step 0: loss 2\.\d+, rate 0\.\d+, gradients \d/m);
  const [correct] = /^\d+ of 512 correct.*/m.exec(stdout)!;
  expect((await onehour(args)).stdout).toBe(`${correct}\n`);
});

test("refuses a wrong rate, and a step before the last has ended", async () => {
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
