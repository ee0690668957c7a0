// Proves that results repeat bit for bit: with programs recorded and replayed whole as without, and
// with a run that was saved and resumed as with one that was not.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bytesOf } from "#lib/arrays/bytes-of.js";
import { openDataset } from "#lib/data/datasets.js";
import type { Device } from "#lib/device/device.js";
import { alone } from "#lib/ranks/world.js";
import { type RecipeInput, readFields, withDefaults } from "#lib/recipe/fields.js";
import { resolveRecipe } from "#lib/recipe/recipe.js";
import { readCheckpoint } from "#lib/run-folder/checkpoint.js";
import { readLog } from "#lib/run-folder/log.js";
import { runRank } from "#lib/train/run.js";
import { checkReplay } from "../replay.js";
import { type Report, runPart } from "../results/report.js";

/** Trains in a folder with the device at hand. */
async function train(device: Device, input: RecipeInput & { out: string }, resume: boolean) {
  const partial = withDefaults(readFields(input));
  const dataset = await openDataset(partial.dataset);
  const facts = { dataset, device: device.properties };
  const recipe = { ...resolveRecipe({ ...partial, workers: 1 }, facts), out: input.out };
  await runRank({ recipe, resume, dataset, device, world: alone, onEvent: () => {} });
}

async function resuming(report: Report, device: Device, precision: "fp32" | "bf16") {
  const folder = mkdtempSync(join(tmpdir(), "onehour-verify-"));
  try {
    const common: RecipeInput = {
      dataset: "synthetic:28x28x1:4:256", // of the size above, whose plans are known
      model: "resnet8",
      batch: 16, // 16 steps an epoch
      epochs: 3,
      momentumForm: "velocity",
      milestones: [0.5],
      precision,
    };
    const [whole, half] = [join(folder, "whole"), join(folder, "half")];
    await train(device, { ...common, steps: 20, out: whole }, false);
    await train(device, { ...common, steps: 9, out: half }, false);
    await train(device, { ...common, steps: 20, out: half }, true);
    const lossesOf = async (out: string) =>
      JSON.stringify(
        (await readLog(out)).lines.flatMap((line) => (line.type === "step" ? [line.loss] : [])),
      );
    const isSame = (await lossesOf(whole)) === (await lossesOf(half));
    report.check(`${precision}: losses when resumed`, isSame, "differ");
    const [a, b] = await Promise.all(
      [whole, half].map((out) => readCheckpoint(join(out, "checkpoint.safetensors"))),
    );
    for (const kind of ["weights", "momentum"] as const)
      for (const [name, values] of a![kind] ?? []) {
        const other = b![kind]?.get(name);
        const same = other !== undefined && Buffer.compare(bytesOf(values), bytesOf(other)) === 0;
        report.check(`${precision}: ${kind} ${name} when resumed`, same, "differs");
      }
    report.note(`${precision}: a run of 20 steps and one that was saved after 9 and resumed`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

await runPart("repeat", async (report) => {
  using device = report.open();
  for (const precision of ["fp32", "bf16", "fp16"] as const) {
    await checkReplay(report, device, precision);
    if (precision !== "fp16") await resuming(report, device, precision); // test/train/fp16.test.ts does
  }
});
