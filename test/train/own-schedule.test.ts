// Trains with a user's own learning rate schedule, a module kept by path and digest.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { onehour } from "../cli/command.js";
import { stepsOf, temporaryFolder } from "../support/folder.js";

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
  const recipe = JSON.parse(readFileSync(join(whole, "recipe.json"), "utf8"));
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
