// Trains whole runs in one process: they learn, log, and report what goes wrong.
import { mkdirSync, readdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { connect } from "../../lib/ranks/connect.js";
import type { RecipeInput } from "../../lib/recipe/fields.js";
import { checkpointName, readCheckpoint } from "../../lib/run-folder/checkpoint.js";
import { formatSafetensors } from "../../lib/run-folder/safetensors.js";
import { environment } from "../../lib/system/environment.js";
import { evaluateCheckpoint } from "../../lib/train/evaluate.js";
import type { RunEvent } from "../../lib/train/events.js";
import { firstBad } from "../../lib/train/fault.js";
import { train } from "../../lib/train/train.js";
import { logOf, recipeOf, temporaryFolder } from "../support/folder.js";
import { parseRecipe } from "../support/recipe.js";
import { attempted, resumed, small, trained } from "../support/training.js";

const folder = temporaryFolder();
const common: RecipeInput = {
  ...small,
  dataset: "synthetic:12x12x1:4:400", // and 25 test images
  batch: 16,
  epochs: 2,
};

test("a run learns, and leaves recipe, log and checkpoints", async () => {
  const out = join(folder, "learns");
  const { result, text } = await trained({ ...common, epochs: 3.5, lr: 4, out });
  expect(result).toMatchObject({ status: "finished", steps: 88, testImages: 25, out });
  expect(result.top1).toBeGreaterThan(0.8);
  expect(text).toMatch(/resnet8 on synthetic.*400 training and 25 test images/);
  expect(text).toMatch(/memory [\d.]+ MB a worker: /);
  expect(text).toMatch("minibatch 1 × 1 × 16 = 16, lr 4 × 16/256 = 0.25");

  expect(readdirSync(out).sort()).toEqual([
    "best.safetensors",
    "checkpoint.previous.safetensors",
    "checkpoint.safetensors",
    "environment.json",
    "log.jsonl",
    "recipe.json",
    "report.html",
  ]);
  const recipe = parseRecipe(recipeOf(out));
  expect(recipe).toMatchObject({ epochs: 3.5, workers: 1, precision: "fp32" });

  const log = logOf(out);
  const steps = log.filter((line) => line.type === "step");
  expect(steps.map(({ step }) => step)).toEqual(Array.from({ length: 88 }, (_, i) => i));
  expect(steps[30]).toMatchObject({ epoch: 1, momentumFactor: 1 });
  expect(steps[29]!.lr).toBe(0.25); // the first milestone is at epoch 3.5 / 3
  expect(steps[30]!.lr).toBe(0.025);
  const epochs = log.filter((line) => line.type === "epoch");
  expect(epochs.map(({ epoch }) => epoch)).toEqual([0, 1, 2, 3]);
  const losses = steps.filter(({ epoch }) => epoch === 1).map(({ loss }) => loss);
  expect(epochs[1]!.trainLoss).toBeCloseTo(losses.reduce((a, b) => a + b) / 25, 12);
  expect(log.at(-1)).toMatchObject({ type: "end", status: "finished", top1: result.top1 });

  const evaluated = await evaluateCheckpoint(join(out, checkpointName), common.dataset!, {
    device: "cpu",
    threads: 1,
    batch: 7,
  });
  expect(evaluated).toMatchObject({ top1: result.top1, images: 25 });
  expect(evaluated.loss).toBeCloseTo(epochs.at(-1)!.testLoss, 5);
});

test("the log has the warm-up's rates and the velocity form's momentum factors", async () => {
  const out = join(folder, "warm-up");
  const recipe = { ...common, batch: 100, accumulate: 4, epochs: 5, warmupEpochs: 2 } as const;
  const { result } = await trained({ ...recipe, momentumForm: "velocity", milestones: [4], out });
  const steps = logOf(out).filter((line) => line.type === "step");
  const peak = (0.1 * 400) / 256;
  const rates = [0.1, (0.1 + peak) / 2, peak, peak, peak / 10];
  steps.forEach(({ lr, momentumFactor }, i) => {
    expect(lr).toBeCloseTo(rates[i]!, 12);
    expect(momentumFactor).toBeCloseTo(i === 0 ? 1 : rates[i]! / rates[i - 1]!, 12);
  });
  expect(steps).toHaveLength(5);

  const errors = logOf(out).flatMap((line) =>
    line.type === "epoch" ? [100 * (1 - line.top1)] : [],
  );
  const median = errors.sort((a, b) => a - b)[2]!;
  expect(result.medianTop1Error).toBe(median);
  expect(logOf(out).at(-1)).toMatchObject({ type: "end", medianTop1Error: median });
});

test("a script that has met the other ranks trains with them", async () => {
  const world = await connect();
  const recipe = { ...common, steps: 1, out: join(folder, "world") };
  const result = await train(recipe, { world, output: null });
  expect(result).toMatchObject({ status: "finished", steps: 1 });
  await expect(train({ ...recipe, workers: 2 }, { world, output: null })).rejects.toThrow(
    /workers: the launcher started 1 process, not 2/,
  );
  await world.close();
});

test("keeps a page about the run and what it runs on", async () => {
  const out = join(folder, "page");
  const read = (name: string) => readFileSync(join(out, name), "utf8");
  await trained({ ...common, epochs: 4, steps: 50, out });
  expect(JSON.parse(read("environment.json"))).toEqual(JSON.parse(JSON.stringify(environment())));
  // That it is there before, and loads itself again: test/train/journal.test.ts.
  expect(read("report.html")).toMatch(/role="status">finished</);

  // The run goes on where they cannot be written.
  for (const name of ["environment.json", "report.html"]) {
    rmSync(join(out, name));
    mkdirSync(join(out, name));
  }
  const { result, text } = await resumed(out, { steps: 75 });
  expect(result).toMatchObject({ status: "finished", steps: 75 });
  for (const name of ["environment.json", "report.html"])
    expect(text.match(RegExp(`warning: ${name} could not be written`, "g"))).toHaveLength(1);
});

test("steps know the best accuracy so far, that of earlier processes too", async () => {
  const out = join(folder, "best");
  const bestOf = ({ events }: { events: RunEvent[] }) =>
    events.flatMap((event) => (event.type === "step" ? [event.bestTop1] : []));
  const first = bestOf(await trained({ ...common, epochs: 4, steps: 60, out }));
  const second = bestOf(await resumed(out, { steps: 80 }));
  const tops = logOf(out).flatMap((line) => (line.type === "epoch" ? [line.top1] : []));
  const after = (epochs: number) =>
    epochs === 0 ? undefined : Math.max(...tops.slice(0, epochs).map(Number));
  const best = (from: number, to: number) =>
    Array.from({ length: to - from }, (_, i) => after(Math.floor((from + i) / 25)));
  expect(first).toEqual(best(0, 60));
  expect(second).toEqual(best(60, 80));
});

test("names once what is left out of an epoch", async () => {
  const { text } = await trained({ ...common, batch: 150, steps: 1, out: join(folder, "rest") });
  expect(text.match(/100 images of each epoch's order are left out/g)).toHaveLength(1);
});

test("warns of a disk that takes no checkpoint, and trains on", async () => {
  const out = join(folder, "full");
  const obstacle = join(out, `${checkpointName}.tmp`); // a folder where the file should be
  await trained({ ...common, batch: 4, epochs: 3, steps: 100, out }); // an epoch
  mkdirSync(obstacle);
  const clear = (event: RunEvent) => {
    if (event.type === "message" && /could not be saved/.test(event.text)) rmdirSync(obstacle);
  };
  const { result, text } = await trained({ out, steps: 300 }, { resume: true, watch: clear });
  expect(result).toMatchObject({ status: "finished", steps: 300 });
  expect(text).toMatch(
    /warning: the checkpoint of step 200 could not be saved.*step 100 is kept.*goes on and tries again$/m,
  );
  const { position } = await readCheckpoint(join(out, checkpointName));
  expect(position?.step).toBe(300);
  const { position: previous } = await readCheckpoint(join(out, "checkpoint.previous.safetensors"));
  expect(previous?.step).toBe(100);
});

test("with two workers, a disk that takes no checkpoint to the end fails the run, not its peers", async () => {
  const out = join(folder, "full2");
  mkdirSync(join(out, `${checkpointName}.tmp`), { recursive: true });
  const recipe = { ...common, workers: 2, batch: 8, steps: 25, timeout: 20, out };
  const { error, text } = await attempted(recipe);
  expect(error).toBeInstanceOf(Error);
  expect(text.match(/.*checkpoint of step 25 could not be saved.*/g)).toEqual([
    expect.stringMatching(/; it is tried again at the end$/),
    expect.not.stringMatching(/training goes on|tried again/),
  ]);
  expect(logOf(out).at(-1)).toMatchObject({ type: "end", status: "failed", steps: 25 });
  expect((logOf(out).at(-1) as { reason: string }).reason).toMatch(
    /has ended, but its checkpoint could not be saved in \S+ \(\S.*\); correct it/,
  );
});

test("runs that start at once get folders of their own", async () => {
  const before = process.cwd();
  process.chdir(folder);
  try {
    const both = await Promise.all([1, 2].map(() => trained({ ...common, steps: 1 })));
    const outs = both.map(({ result }) => result.out);
    expect(new Set(outs).size).toBe(2);
    for (const out of outs) expect(logOf(out)).toHaveLength(3);
    // A refused run leaves no folder.
    await expect(trained({ ...common, init: "none" })).rejects.toThrow(/cannot read .*none/);
    expect(readdirSync("runs")).toHaveLength(2);
  } finally {
    process.chdir(before);
  }
});

test("reports a run folder that cannot be made, without blaming disk space", async () => {
  const out = join(folder, "learns", "recipe.json", "run");
  const { error } = await attempted({ ...common, steps: 1, out });
  expect(error!.message).toMatch(/cannot write to the run folder .*; name another with out$/);
});

test("a step that is not finite ends the run, names the layer and keeps the checkpoint", async () => {
  const out = join(folder, "not-finite");
  const recipe = { ...common, batch: 300, lr: 1e18, epochs: 4, milestones: [], out }; // a step an epoch
  const failing = trained(recipe);
  await expect(failing).rejects.toThrow(
    /step 1 is not finite: loss .*; first in the (input|gradient) of \w+.*checkpoint of step 1 is kept.*lr: 500000000000000000\)/s,
  );
  await expect(failing).rejects.toMatchObject({ code: "ERR_ONEHOUR_NOT_FINITE" });
  expect(logOf(out).at(-1)).toMatchObject({ type: "end", status: "failed" });
  expect(readFileSync(join(out, "report.html"), "utf8")).toMatch(/role="status">failed</);
  const { position } = await readCheckpoint(join(out, checkpointName));
  expect(position?.step).toBe(1);
});

test("the first bad layer: activations in forward order before gradients in backward order", () => {
  const layout = (name: string) => ({ name }) as never;
  const compiled = {
    statistics: ["bn1.running_mean", "layer1.0.bn1.running_var"].map(layout),
    parameters: ["fc.weight", "conv1.weight"].map(layout),
  };
  const good = Float32Array.of(1);
  const state = (...bad: string[]) => ({
    weights: new Map(
      [...compiled.statistics, ...compiled.parameters].map(({ name }) => [
        name,
        bad.includes(name) ? Float32Array.of(0, Number.NaN) : good,
      ]),
    ),
  });
  expect(firstBad(state(), compiled)).toBeUndefined();
  expect(firstBad(state("conv1.weight"), compiled)?.name).toBe("the gradient of conv1.weight");
  expect(firstBad(state("conv1.weight", "fc.weight"), compiled)?.name).toBe(
    "the gradient of fc.weight",
  );
  expect(firstBad(state("fc.weight", "layer1.0.bn1.running_var"), compiled)?.name).toBe(
    "the input of layer1.0.bn1",
  );
});

test("a batch that does not fit into the memory is refused with one that does", async () => {
  const large = { dataset: "synthetic:512x512x3:10:1000000", model: "resnet50", batch: 20_000 };
  const refused = trained({ ...common, ...large, out: join(folder, "large") });
  await expect(refused).rejects.toThrow(/needs [\d.]+ TB a worker.*about batch: \d+ fits/);
  expect(readdirSync(folder)).not.toContain("large");
});

test("evaluation computes in bf16 where it is asked to, and refuses tf32 on the CPU", async () => {
  const file = join(folder, "learns", checkpointName);
  const evaluate = (precision: "fp32" | "tf32" | "bf16") =>
    evaluateCheckpoint(file, common.dataset!, { device: "cpu", threads: 1, precision });
  const exact = await evaluate("fp32");
  const rounded = await evaluate("bf16");
  expect(rounded.images).toBe(25);
  expect(rounded.loss).not.toBe(exact.loss);
  expect(Math.abs(rounded.loss - exact.loss)).toBeLessThan(0.02 * exact.loss + 0.02);
  await expect(evaluate("tf32")).rejects.toThrow(/precision: tf32 needs a GPU/);
});

test("weights from elsewhere that nearly fit are refused with the difference", async () => {
  const { weights, shapes } = await readCheckpoint(join(folder, "learns", checkpointName));
  const file = join(folder, "foreign.safetensors");
  const evaluateWithout = (missing: string, dataset = common.dataset!) => {
    const kept = [...weights].filter(([name]) => name !== missing);
    const tensors = kept.map(([name, data]) => ({ name, shape: shapes.get(name)!, data }));
    writeFileSync(file, Buffer.concat(formatSafetensors(tensors, {})));
    return evaluateCheckpoint(file, dataset, { device: "cpu", threads: 1 });
  };
  expect((await evaluateWithout("none")).images).toBe(25);
  await expect(evaluateWithout("bn1.bias")).rejects.toThrow(
    /not weights of resnet8 for this data set: it has no tensor bn1\.bias/,
  );
  await expect(evaluateWithout("none", "synthetic:12x12x1:5")).rejects.toThrow(
    /not weights of resnet8.*fc\.weight is \[4,64\], not \[5,64\]/,
  );
});
