// Resolves recipes: fills in defaults, and refuses wrong fields with what was expected.
import { afterEach, expect, test } from "vitest";
import { openDataset } from "../../lib/data/datasets.js";
import type { RecipeInput } from "../../lib/recipe/fields.js";
import { overrideRecipe, resolveRecipe } from "../../lib/recipe/recipe.js";
import { setVoice } from "../../lib/recipe/voice.js";
import { parseRecipe } from "../support/recipe.js";

afterEach(() => setVoice("fields"));

const dataset = await openDataset("synthetic:8x8x1:4:96");
const cpu = { kind: "cpu" } as const;
const resolve = (input: RecipeInput, device: { kind: "cpu" | "cuda" } = cpu) =>
  resolveRecipe(parseRecipe(input), { dataset, device });

test("defaults", () => {
  expect(resolve({})).toMatchObject({
    model: "resnet8",
    workers: 1,
    batch: 32,
    accumulate: 1,
    epochs: 10,
    lr: 0.1,
    warmup: "gradual",
    warmupEpochs: 5,
    milestones: [10 / 3, 20 / 3, 80 / 9],
    momentum: 0.9,
    momentumForm: "gradient",
    momentumCorrection: true,
    nesterov: true,
    weightDecay: 1e-4,
    syncBatchNorm: 0,
    precision: "fp32",
    seed: 0,
    augment: true,
    checkpointMinutes: 10,
    timeout: 60,
  });
  expect(resolve({}, { kind: "cuda" }).precision).toBe("bf16");
  expect(resolve({ epochs: 90 }).milestones).toEqual([30, 60, 80]);
});

test("a resolved recipe resolves to itself", () => {
  const recipe = resolve({ workers: 2, batch: 8, milestones: [2, 1], precision: "bf16" });
  expect(recipe.milestones).toEqual([1, 2]);
  expect(resolve(JSON.parse(JSON.stringify(recipe)))).toEqual(recipe);
});

test("default milestones follow epochs that override a recipe's, others stay", () => {
  const kept = JSON.parse(JSON.stringify(resolve({ epochs: 10 }))) as RecipeInput;
  expect(resolve(overrideRecipe(kept, { epochs: 3 })).milestones).toEqual([1, 2, 8 / 3]);
  expect(overrideRecipe(kept, { lr: 1 })).toEqual({ ...kept, lr: 1 });
  expect(overrideRecipe(kept, { epochs: 3, milestones: [2] }).milestones).toEqual([2]);
  const own = { epochs: 10, milestones: [1] };
  expect(overrideRecipe(own, { epochs: 3 })).toEqual({ epochs: 3, milestones: [1] });
});

test("the resolved recipe has the optimiser's own rule of momentum", () => {
  const lars = resolve({ optimizer: "lars", clipNorm: 2 });
  const rule = { momentumForm: "velocity", momentumCorrection: false, nesterov: false };
  expect(lars).toMatchObject({ optimizer: "lars", clipNorm: 2, momentum: 0.9, ...rule });
  expect(resolve(JSON.parse(JSON.stringify(lars)))).toEqual(lars);
  expect(resolve({ optimizer: "lars", nesterov: false, momentumForm: "velocity" })).toMatchObject(
    rule,
  );
  for (const [field, value] of [
    ["nesterov", true],
    ["momentumForm", "gradient"],
    ["momentumCorrection", true],
  ] as const)
    expect(() => resolve({ optimizer: "lars", [field]: value })).toThrow(
      new RegExp(`^${field}: lars has a rule of its own, ${field}: .*; leave it out`),
    );
});

test("milestones belong to the schedule step, and come and go with it", () => {
  const cosine = resolve({ lrSchedule: "cosine" });
  expect(cosine).toMatchObject({ lrSchedule: "cosine", milestones: [] });
  expect(resolve(JSON.parse(JSON.stringify(cosine)))).toEqual(cosine);
  expect(resolve(overrideRecipe(cosine, { lrSchedule: "step" }))).toEqual(resolve({}));
  expect(resolve(overrideRecipe(resolve({}), { lrSchedule: "cosine" }))).toEqual(cosine);
  expect(() => resolve({ lrSchedule: "linear", milestones: [2] })).toThrow(
    /^milestones: they belong to the schedule step, and the rate follows "linear"; leave them out/,
  );
  const chosen = overrideRecipe({ epochs: 10, milestones: [4] }, { lrSchedule: "polynomial" });
  expect(() => resolve(chosen)).toThrow(/^milestones: /);
});

test("another optimiser replaces the defaults of the first, and keeps what was chosen", () => {
  const [sgd, lars] = [resolve({}), resolve({ optimizer: "lars" })];
  expect(resolve(overrideRecipe(sgd, { optimizer: "lars" }))).toEqual(lars);
  expect(resolve(overrideRecipe(lars, { optimizer: "sgd" }))).toEqual(sgd);
  const plain = overrideRecipe({ nesterov: false }, { optimizer: "sgd" });
  expect(resolve(plain).nesterov).toBe(false);
  expect(() => resolve(overrideRecipe(sgd, { optimizer: "lars", nesterov: true }))).toThrow(
    /^nesterov: lars/,
  );
  const chosen = overrideRecipe(resolve({ momentumForm: "velocity" }), { optimizer: "sgd" });
  expect(resolve(chosen).momentumForm).toBe("velocity");
});

test("a minibatch is kept as the micro-batches that make it up", () => {
  const kept = resolve({ workers: 2, batch: 8, minibatch: 64 });
  expect(kept).toMatchObject({ workers: 2, accumulate: 4, batch: 8 });
  expect(kept).not.toHaveProperty("minibatch");
  expect(resolve(overrideRecipe(kept as RecipeInput, { minibatch: 32 })).accumulate).toBe(2);
  const named = { batch: 8, minibatch: 64 };
  expect(resolve(overrideRecipe(named, { accumulate: 2 })).accumulate).toBe(2);
});

test.each<[RecipeInput, RegExp]>([
  [{ workers: 0 }, /--workers: expected a whole number of 1 or more, got 0/],
  [{ workers: 1.5 }, /--workers: expected a whole number.*1\.5/],
  [{ batch: 0 }, /--batch: .*got 0/],
  [{ accumulate: -1 }, /--accumulate: .*got -1/],
  [{ steps: 0 }, /--steps/],
  [{ epochs: 0 }, /--epochs: expected a number above 0/],
  [{ lr: 0 }, /--lr: expected a number above 0/],
  [{ lr: Number.NaN }, /--lr: .*NaN/],
  [{ momentum: 1 }, /--momentum: expected 0 or more and less than 1, got 1/],
  [{ weightDecay: -1 }, /--weight-decay/],
  [{ warmupEpochs: -1 }, /--warmup-epochs/],
  [{ warmup: "linear" as never }, /--warmup: expected gradual, constant, none; got "linear"/],
  [{ momentumForm: "u" as never }, /--momentum-form/],
  [{ optimizer: "adam" as never }, /--optimizer: expected sgd, lars.*; got "adam"/],
  [{ lrSchedule: "cosin" }, /--lr-schedule: there is no schedule "cosin"; did you mean "cosine"\?/],
  [{ lrSchedule: "wave" }, /no schedule "wave"\. Schedules: step, .*, or a module such as/],
  [{ clipNorm: 0 }, /--clip-norm: expected a number above 0, got 0/],
  [{ optimizer: "lars", nesterov: true }, /--nesterov: .*leave it out, or take --optimizer sgd/],
  [{ syncBatchNorm: -2 }, /--sync-bn/],
  [{ syncBatchNorm: 2 }, /--sync-bn: there is one worker only; try --workers 2/],
  [{ workers: 4, batch: 4, syncBatchNorm: 3 }, /--sync-bn: 4 workers.*groups of 3/],
  [{ batch: 97 }, /--batch: .*97 images.*has 96; expected at most --batch 96/],
  [{ workers: 2, accumulate: 2, batch: 32 }, /2 × 2 × 32 = 128 images.*at most --batch 24/],
  [{ workers: 97 }, /expected fewer workers/],
  [{ minibatch: 1.5 }, /--minibatch: expected a whole number.*1\.5/],
  [
    { minibatch: 48 },
    /--minibatch: 48 images are not a multiple.*32 or 64; or try --batch 24 or 48/,
  ],
  [{ minibatch: 64, accumulate: 1 }, /--minibatch: 64 images need --accumulate 2/],
  [{ milestones: [10] }, /--milestones: epoch 10 is not before the end.*10 epochs/],
  [{ epochs: 2, milestones: [1, 3] }, /epoch 3.*expected less than 2, or none/],
  [{ precision: "tf32" }, /--precision: tf32 needs a GPU/],
  [{ precision: "fp8" as never }, /--precision: expected fp32, tf32, bf16, fp16/],
  [{ model: "resnet21" }, /there is no model "resnet21"; did you mean "resnet20"/],
  [{ seed: -1 }, /--seed/],
  [{ checkpointMinutes: -1 }, /--checkpoint-minutes: expected a number of 0 or more/],
  [{ epoch: 3 } as never, /no field "epoch"; did you mean epochs/],
  [{ epochs: 1e-12 }, /--epochs/],
  [{ epochs: 1e308 }, /--epochs: 1e\+308 epochs have more steps than can be counted/],
  [{ warmupEpochs: 1e308 }, /--warmup-epochs: 1e\+308 epochs have more steps/],
  [{ dataset: "a\0b" }, /dataset: expected text that a file's name can hold, got "a\\x00b"/],
  [{ init: "\ud800" }, /--init: expected text that a file's name can hold, got "\\ud800"/],
  [{ out: "\0" }, /--out: expected text that/],
  [{ model: "\x1b[2J" }, /no model "\\x1b\[2J"/],
])("refused, with the flag to a user of the command: %j", (input, message) => {
  setVoice("flags");
  expect(() => resolve(input)).toThrow(message);
  expect(() => resolve(input)).toThrow(expect.objectContaining({ code: "ERR_ONEHOUR_RECIPE" }));
});

test.each<[RecipeInput, RegExp]>([
  [{ workers: 0 }, /^workers: expected a whole number of 1 or more, got 0$/],
  [{ weightDecay: -1 }, /^weightDecay: /],
  [{ syncBatchNorm: 2 }, /^syncBatchNorm: there is one worker only; try workers: 2$/],
  [{ batch: 97 }, /^batch: .*expected at most batch: 96 here$/],
  [{ minibatch: 48 }, /^minibatch: .*expected 32 or 64; or try batch 24 or 48$/],
  [{ minibatch: 64, accumulate: 1 }, /^minibatch: 64 images need accumulate: 2/],
])("refused, with the field to a script: %j", (input, message) => {
  expect(() => resolve(input)).toThrow(message);
});

test.each([
  ["synthetic", /a recipe is an object, and this is "synthetic"; try { dataset: "synthetic" }/],
  [undefined, /a recipe is an object, and this is undefined; try { dataset: "fashion-mnist"/],
  [null, /this is null/],
  [[{ lr: 1 }], /this is \[ { lr: 1 } \]/],
  [Promise.resolve({}), /this is Promise/],
  [() => ({}), /this is \[Function/],
  [new Map([["lr", 1]]), /this is Map/],
  [7, /this is 7/],
  [{ learningRate: 1 }, /no field "learningRate"; did you mean lr\?/],
  [{ xyzzy: 1 }, /no field "xyzzy"; its fields are dataset, model, /],
  [{ resume: true }, /no field "resume"; a script continues a run by train\(/],
])("no recipe: %s", (input, message) => {
  expect(() => parseRecipe(input)).toThrow(message);
  expect(() => parseRecipe(input)).toThrow(expect.objectContaining({ code: "ERR_ONEHOUR_RECIPE" }));
});

test("a value of any kind is named in short", () => {
  const itself: unknown[] = [];
  itself.push(itself);
  const cases: [RecipeInput, RegExp][] = [
    [{ batch: 4n } as never, /batch: expected a whole number, got 4n/],
    [{ lr: itself } as never, /lr: expected a number above 0, got <ref \*1>/],
    [{ lr: "9".repeat(1e6) } as never, /lr: .*got "9{1,200}… \(999,\d+ characters\)/],
    [{ ["x".repeat(1e6)]: 1 } as never, /no field "x{1,200}… /],
  ];
  for (const [input, message] of cases) expect(() => parseRecipe(input)).toThrow(message);
});

test("bf16 is for any device", () => {
  expect(resolve({ precision: "bf16" }).precision).toBe("bf16");
});
