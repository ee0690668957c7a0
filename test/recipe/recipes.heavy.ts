// Runs each recipe of the package for an epoch of the rehearsal folder, by the command: whatever lies in recipes/.
import { execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { onehour } from "../cli/command.js";
import { logOf, recipeOf, stepsOf, temporaryFolder } from "../support/folder.js";

const folder = temporaryFolder();
const data = join(folder, "images");
const root = join(import.meta.dirname, "../..");
const names = readdirSync(join(root, "recipes")).map((file) => file.replace(/\.json$/, ""));

const trained = 48; // images

beforeAll(() => {
  execFileSync(join(root, "scripts/make-imagefolder"), [data, "--images", String(trained)]);
});

/**
 * What a small folder and two cores ask for; network, sizes of images, optimizer and schedule are the recipe's. The
 * folder has fewer images than their minibatches, and ResNet-50 takes seconds a step. The run ends after the
 * epoch, so that the recipe's length and milestones stay.
 */
const batch = 4;
const minibatch = 8;
const steps = trained / minibatch;
const here = ["--batch", batch, "--minibatch", minibatch, "--steps", steps, "--device", "cpu"];

test.each(names)("%s runs for an epoch", { timeout: 1_200_000 }, async (name) => {
  const out = join(folder, name);
  const flags = ["--recipe", name, ...here.map(String), "--out", out];
  const { status, stderr } = await onehour(["train", data, ...flags]);
  expect(status, stderr).toBe(0);

  expect(recipeOf(out)).toMatchObject({ model: "resnet50", batch, accumulate: minibatch / batch });
  const losses = stepsOf(out).map(({ loss }) => loss);
  expect(losses).toHaveLength(steps);
  expect(losses.every(Number.isFinite)).toBe(true);
  const epoch = logOf(out).findLast((line) => line.type === "epoch")!;
  const accuracies = [epoch.top1, ...("emaDecay" in recipeOf(out) ? [epoch.emaTop1] : [])];
  for (const top1 of accuracies) {
    expect(top1).toBeGreaterThanOrEqual(0);
    expect(top1).toBeLessThanOrEqual(1);
  }
  expect(Number.isFinite(epoch.testLoss)).toBe(true);
  expect(logOf(out).at(-1)).toMatchObject({ type: "end" });
});
