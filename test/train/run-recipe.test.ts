// What recipe.json says of a run: which one it is and what it was asked for, where the run goes on and where another
// begins with its recipe or its weights.
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { TensorLayout } from "../../lib/graph/compile.js";
import type { Recipe } from "../../lib/recipe/fields.js";
import { formatRecipe, readRunRecipe } from "../../lib/recipe/run-recipe.js";
import {
  checkpointName as checkpoint,
  formatCheckpoint,
  readCheckpoint,
} from "../../lib/run-folder/checkpoint.js";
import { recipeOf, stepsOf } from "../support/folder.js";
import { common, expectSameState, halfRun, lastingLog } from "../support/half-run.js";
import { resumed, trained } from "../support/training.js";

const { folder, whole, half, copyOfHalf } = halfRun();

test("a recipe.json that is not as it was written is refused, whatever was changed", async () => {
  const out = copyOfHalf("edited");
  const file = join(out, "recipe.json");
  const before = readFileSync(file, "utf8");
  const log = readFileSync(join(out, "log.jsonl"));
  const { digest, ...fields } = JSON.parse(before);
  const { id, ...recipe } = fields;
  const refused = async (text: string, message: RegExp) => {
    writeFileSync(file, text);
    const failing = resumed(out, { steps: 20 });
    await expect(failing).rejects.toThrow(message);
    await expect(failing).rejects.toMatchObject({ code: "ERR_ONEHOUR_RUN_FOLDER" });
    expect(readFileSync(file, "utf8")).toBe(text);
    expect(readFileSync(join(out, "log.jsonl"))).toEqual(log);
  };
  const changed =
    /is not as the run wrote it.*steps, .*where it is resumed.*--recipe RECIPE --init/;
  await refused(before.replace('"lr": 0.1', '"lr": 0.5'), changed);
  await refused(JSON.stringify(fields), changed); // without its digest
  await refused(JSON.stringify({ ...fields, digest: [digest] }), changed);
  await refused(JSON.stringify({ ...JSON.parse(before), extra: 1 }), changed);
  for (const text of ["null", "5", '"text"', "[]", "{}"]) await refused(text, changed);
  await refused(
    before.slice(0, -20),
    /is not a recipe.*Put it back, or start another run from its weights.*--recipe RECIPE --init/,
  );
  for (let at = 0; at < before.length; at++) {
    const flipped = Buffer.from(before);
    flipped[at]! ^= 1;
    writeFileSync(file, flipped);
    const read = await readRunRecipe(out, { out }).catch(() => undefined);
    if (read) expect(read).toMatchObject(recipe); // white space
  }

  // The recipe of another run, with the right digest: the checkpoint disagrees.
  await refused(
    formatRecipe({ ...recipe, lr: 0.5, out }, id),
    /lr is 0\.5 in .*recipe\.json, but 0\.1 in the run that saved .*checkpoint\.safetensors/,
  );

  // The same recipe of another run.
  await refused(
    formatRecipe({ ...recipe, out }, "another"),
    new RegExp(
      `checkpoint\\.safetensors is of the run "${id}", but the recipe.json beside it of "another"`,
    ),
  );

  // Laid out otherwise it is the same recipe.
  writeFileSync(
    file,
    JSON.stringify({ digest, ...Object.fromEntries(Object.entries(fields).reverse()) }),
  );
  expect((await resumed(out, { steps: 11 })).result.steps).toBe(11);
});

/** The fields that recipe.json and a checkpoint had before there was a choice of optimiser and schedule. */
const earlierFields = [
  ...["dataset", "model", "workers", "batch", "accumulate", "epochs", "steps", "lr", "warmup"],
  ...["warmupEpochs", "milestones", "momentum", "momentumForm", "momentumCorrection", "nesterov"],
  ...["weightDecay", "labelSmoothing", "syncBatchNorm", "preciseBatchNorm", "precision", "device"],
  ...["cudaGraph", "threads", "seed", "augment", "imageSize", "colorJitter", "strict", "init"],
  ...["checkpointMinutes", "timeout"],
];

test("an earlier version's run, with fewer fields in its recipe and checkpoint, resumes bit for bit", async () => {
  const out = copyOfHalf("earlier");
  const earlier = (fields: object) =>
    Object.fromEntries(Object.entries(fields).filter(([name]) => earlierFields.includes(name)));
  const recipe = recipeOf(out);
  expect(recipe).toMatchObject({ optimizer: "sgd", lrSchedule: "step" });
  writeFileSync(join(out, "recipe.json"), formatRecipe(earlier(recipe) as Recipe, undefined));
  const { digest } = recipeOf(out);
  const saved = await readCheckpoint(join(out, checkpoint));
  const layouts = [...saved.weights].map(([name, { length }]) => {
    const shape = [...(saved.shapes.get(name) ?? [length])];
    return { name, shape } as TensorLayout;
  });
  const origin = { data: saved.data!, recipe: earlier(saved.recipe!) };
  const position = { ...saved.position!, top1Sum: undefined };
  const pieces = await formatCheckpoint(layouts, saved, position, saved.model!, origin);
  writeFileSync(join(out, checkpoint), Buffer.concat(pieces));
  rmSync(join(out, "checkpoint.previous.safetensors"), { force: true });

  await resumed(out, { steps: 20 });
  // The accuracy on the training images of the epoch that it began is not known.
  const expected = lastingLog(whole).map(({ trainTop1, ...line }) =>
    trainTop1 === undefined || line.epoch === 0 ? line : { ...line, trainTop1 },
  );
  expect(lastingLog(out)).toEqual(expected);
  expect(expected.filter(({ trainTop1 }) => trainTop1 !== undefined)).toHaveLength(1);
  await expectSameState(whole, out);
  const now = await readCheckpoint(join(out, checkpoint));
  expect(now.recipe).toHaveProperty("optimizer", "sgd");
  // It had no id, and goes by what its recipe.json had in its place.
  expect([now.id, recipeOf(out).id]).toEqual([digest, digest]);
});

test("each run has an id of its own, which it keeps", async () => {
  const { id } = recipeOf(half);
  expect(id).toMatch(/^[0-9a-f]{32}$/);
  expect(recipeOf(whole).id).not.toBe(id);
  const out = copyOfHalf("same-run");
  await resumed(out, { steps: 11 });
  expect(recipeOf(out).id).toBe(id);
  expect((await readCheckpoint(join(out, checkpoint))).id).toBe(id);
  // Its recipe begins another run.
  const other = join(folder, "other-run");
  await trained({ ...recipeOf(out), steps: 1, out: other });
  expect(recipeOf(other).id).not.toBe(id);
});

test("a run's recipe.json, changed, starts another run", async () => {
  const out = join(folder, "from-recipe");
  const { steps: _, ...recipe } = recipeOf(half);
  const init = join(half, checkpoint);
  const { result } = await trained({ ...recipe, lr: 0.05, init, steps: 1, out });
  expect(result.steps).toBe(1);
  expect(recipeOf(out).lr).toBe(0.05);
});

test("--init begins with the weights of a file", async () => {
  const out = join(folder, "initialised");
  await trained({ ...common, init: join(whole, checkpoint), steps: 1, out });
  const fresh = stepsOf(half)[0]!.loss;
  expect(stepsOf(out)[0]!.loss).toBeLessThan(fresh);
  const other = trained({
    ...common,
    model: "resnet20",
    init: join(whole, checkpoint),
    out: `${out}2`,
  });
  await expect(other).rejects.toThrow(/saved from resnet8; try model: "resnet8"/);
  const missing = trained({ ...common, init: join(folder, "no.safetensors"), out: `${out}3` });
  await expect(missing).rejects.toThrow(/cannot read .*no\.safetensors/);
  expect(existsSync(`${out}3`)).toBe(false);
});
