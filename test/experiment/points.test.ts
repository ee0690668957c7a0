import { expect, test } from "vitest";
import { experiments, figureMinibatches, pointId, pointsOf } from "../../lib/experiment/points.js";
import { remarkRuns } from "../../lib/experiment/remarks.js";
import { setting } from "../../lib/experiment/setting.js";
import { readFields } from "../../lib/recipe/fields.js";

const ids = (...args: Parameters<typeof pointsOf>) => pointsOf(...args).map(({ id }) => id);
const small = { ...setting, minibatches: [64, 512, 4096], large: 4096 };

test("each experiment has its points, and paper has all of them once, the deciding ones first", () => {
  expect(ids("figure1", small)).toEqual(["kn-64", "kn-256", "kn-512-gradual", "kn-4096-gradual"]);
  const warmups = ["kn-4096-gradual", "kn-4096-none", "kn-4096-constant"];
  expect(ids("table1", small)).toEqual(["kn-256", ...warmups]);
  expect(ids("figure3", small)).toEqual(["kn-256", "kn-4096-gradual"]);
  const remarks = Object.keys(remarkRuns).map((run) => `remark-${run}`);
  expect(ids("remarks", small)).toEqual(remarks);
  expect(ids("paper", small)).toEqual([
    "kn-256",
    ...warmups,
    ...["kn-64", "kn-512-gradual"],
    ...remarks,
    ...ids("table2", small).filter((id) => !["kn-256", "kn-4096-gradual"].includes(id)),
  ]);
  const last = pointsOf("paper", small).filter((one) => one.last);
  expect(last.map(({ id }) => id)).toEqual(ids("table2", small).slice(2));
  expect(pointsOf("table2", small).some((one) => one.last)).toBe(false);
});

test("the baseline is always one of the minibatches of Figure 1", () => {
  expect(figureMinibatches({ ...small, minibatches: [] })).toEqual([256]);
  expect(figureMinibatches({ ...small, minibatches: [512, 256, 64, 512] })).toEqual([64, 256, 512]);
});

test("up to 256 images there is one point whatever the warm-up", () => {
  expect(new Set((["none", "constant", "gradual"] as const).map((w) => pointId(256, w)))).toEqual(
    new Set(["kn-256"]),
  );
  expect(pointId(288, "none")).toBe("kn-288-none");
});

test("only kn differs between the points of Figure 1: one worker, n = 32", () => {
  const recipes = pointsOf("figure1", small).map(({ recipe }) => recipe);
  for (const recipe of recipes) {
    const { accumulate, ...rest } = recipe;
    expect(rest).toEqual({ ...recipes[0], accumulate: undefined });
    expect(rest).toMatchObject({ workers: 1, batch: 32, warmup: "gradual" });
  }
  expect(recipes.map(({ accumulate }) => 32 * accumulate!)).toEqual([64, 256, 512, 4096]);
});

test("Table 2's rates are those of the rules at the large minibatch", () => {
  const { large, lr } = small;
  const recipes = new Map(pointsOf("table2", small).map(({ id, recipe }) => [id, recipe]));
  expect(recipes.size).toBe(10);
  const peak = (id: string, minibatch: number) => (recipes.get(id)!.lr! * minibatch) / 256;
  expect(peak("kn-4096-gradual", large)).toBeCloseTo(16 * lr, 12);
  expect(peak("kn-4096-gradual-double", large)).toBeCloseTo(32 * lr, 12);
  expect(peak("kn-4096-gradual-root", large)).toBeCloseTo(4 * lr, 12);
  expect(peak("kn-4096-gradual-unscaled", large)).toBeCloseTo(lr, 12);
  expect(recipes.get("kn-4096-gradual-unscaled")!.warmup).toBe("none");
  expect(peak("kn-256-half", 256)).toBeCloseTo(lr / 2, 12);
  for (const [id, { zeroGamma = true }] of recipes) expect(zeroGamma).toBe(!id.endsWith("gamma"));
});

test("all recipes have fields that exist, and the remarks' steps the same images", () => {
  for (const name of Object.keys(experiments) as (keyof typeof experiments)[])
    for (const { id, recipe, once } of pointsOf(name, setting)) {
      expect(readFields(recipe, "fields")).toEqual(recipe);
      const { workers, accumulate, batch } = recipe;
      const minibatch = workers! * accumulate! * batch!;
      expect(once === true).toBe(id.startsWith("remark-"));
      if (once) expect(minibatch).toBe(512);
    }
});
