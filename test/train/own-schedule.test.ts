// Trains with a user's own learning rate schedule, a module kept by path and digest.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { openSchedule } from "../../lib/schedules/open.js";
import { onehour } from "../cli/command.js";
import { recipeOf, stepsOf, temporaryFolder } from "../support/folder.js";

const folder = temporaryFolder();
const file = join(folder, "halving.ts");
const flags = [
  ...["synthetic:12x12x1:4:64", "--model", "resnet8", "--batch", "8", "--device", "cpu"],
  ...["--threads", "1", "--epochs", "2", "--momentum-form", "velocity"],
];
const source = (factor: string) => `import type { StepInfo } from "onehour";
export default ({ epoch, peak, step, steps }: StepInfo): number =>
  step >= steps ? Number.NaN : peak * ${factor} ** Math.floor(epoch * 4);
`;
const whole = join(folder, "whole");
const half = join(folder, "half");

beforeAll(async () => {
  writeFileSync(file, source("0.5"));
  const train = (out: string, ...more: string[]) =>
    onehour(["train", ...flags, "--lr-schedule", file, "--out", out, ...more]);
  const { status, stdout, stderr } = await train(whole, "--workers", "2", "--batch", "4");
  expect([status, stderr]).toEqual([0, ""]);
  expect(stdout).toContain(`then as ${file} says`);
  expect((await train(half, "--workers", "2", "--batch", "4", "--steps", "5")).status).toBe(0);
}, 300_000);

test("every rank follows it, and the log has its rates", () => {
  const peak = (0.1 * 8) / 256;
  const rates = stepsOf(whole).map(({ lr }) => lr);
  expect(rates).toEqual(Array.from({ length: 16 }, (_, i) => peak * 0.5 ** Math.floor(i / 2)));
  const recipe = recipeOf(whole);
  expect(recipe.lrSchedule).toMatch(new RegExp(`^${file}#sha256:[0-9a-f]{64}$`));
  expect(recipe.milestones).toEqual([]);
});

test("a run is resumed with it bit for bit, and with no other", async () => {
  writeFileSync(file, source("0.25"));
  const changed = await onehour(["train", "--resume", "--out", half, "--steps", "16"]);
  expect(changed.status).not.toBe(0);
  expect(changed.stderr).toMatch(/halving\.ts .*not|halving\.ts.*changed/);
  writeFileSync(file, source("0.5"));
  const { status } = await onehour(["train", "--resume", "--out", half, "--steps", "16"]);
  expect(status).toBe(0);
  expect(stepsOf(half)).toEqual(stepsOf(whole));
  const bytes = (out: string) => readFileSync(join(out, "checkpoint.safetensors"));
  // After the header, which holds times.
  const tensors = (all: Buffer) => all.subarray(8 + Number(all.readBigUInt64LE()));
  expect(tensors(bytes(half)).equals(tensors(bytes(whole)))).toBe(true);
}, 300_000);

test.each([
  ["a rate that is none", "export default () => 'fast';", /gives "fast" as the rate of step 0/],
  ["no function", "export default 0.1;", /exports 0\.1; expected a function of a step/],
  ["no default", "export const rate = 1;", /no default export/],
  [
    "one that throws",
    "export default () => { throw new Error('boom'); };",
    /fails at step 0 \(boom\)/,
  ],
  ["one that throws no error", "export default () => { throw 7; };", /fails at step 0 \(7\)/],
])(
  "refuses %s",
  async (name, text, message) => {
    const wrong = join(folder, `${name.replaceAll(" ", "-")}.mjs`);
    writeFileSync(wrong, `${text}\n`);
    const out = join(folder, name);
    const args = ["train", ...flags, "--lr-schedule", wrong, "--out", out];
    const { status, stderr } = await onehour(args);
    expect(status).toBeGreaterThan(0);
    expect(stderr).toMatch(message);
    expect(existsSync(out)).toBe(false);
  },
  120_000,
);

test("names the module and the step where it throws in the middle of a run", async () => {
  const failing = join(folder, "failing.mjs");
  writeFileSync(
    failing,
    "export default ({ step }) => { if (step === 3) throw new Error('boom'); return 0.1; };\n",
  );
  const out = join(folder, "failing");
  const { status, stderr } = await onehour([
    ...["train", ...flags, "--lr-schedule", failing, "--out", out, "--steps", "5"],
  ]);
  expect(status).toBe(1);
  expect(stderr).toContain(`${failing} fails at step 3 (boom)`);
  expect(stderr).not.toMatch(/bug in onehour|^\s+at /m);
}, 120_000);

test("a run that is all warm-up never asks it", async () => {
  const linear = join(folder, "linear.mjs");
  writeFileSync(linear, "export default ({ peak, done }) => peak * (1 - done);\n");
  const schedule = (await openSchedule(linear))({
    ...{ lr: 0.1, minibatch: 512, stepsPerEpoch: 16, epochs: 1 },
    ...{ warmup: "gradual", warmupEpochs: 1, milestones: [] },
  });
  expect(schedule(0)).toBe(0.1);
  expect(schedule(15)).toBeCloseTo(0.1 + (0.1 * 15) / 16);
});
