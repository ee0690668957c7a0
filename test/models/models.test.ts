// Trains and evaluates a network that a script adds to the table, by its name.
import { join } from "node:path";
import { expect, test } from "vitest";
import { UsageError } from "../../lib/errors.js";
import { checked } from "../../lib/models/check.js";
import { type Layers, network } from "../../lib/models/layers.js";
import type { ModelBuilder } from "../../lib/models/model.js";
import { addModel, models } from "../../lib/models/models.js";
import { globalAveragePool } from "../../lib/ops/index.js";
import { optimizers } from "../../lib/ops/optimizers/index.js";
import { readCheckpoint } from "../../lib/run-folder/checkpoint.js";
import { schedules } from "../../lib/schedules/index.js";
import { evaluateCheckpoint } from "../../lib/train/evaluate.js";
import { compileFor } from "../graph/options.js";
import { temporaryFolder } from "../support/folder.js";
import { trained } from "../support/training.js";

const folder = temporaryFolder();
const tiny = network((layers, x, { classes }) => {
  const y = layers.convNorm("conv", x, { filters: 8, window: 3, stride: 2 });
  return layers.linear("fc", globalAveragePool(y), classes);
});

test("trains, is resumed and evaluated under its name", async () => {
  addModel("tiny", tiny);
  expect(Object.keys(models)).toContain("tiny");
  const out = join(folder, "tiny");
  const dataset = "synthetic:12x12x1:4:256";
  const recipe = { dataset, model: "tiny", batch: 8, lr: 4, epochs: 4, device: "cpu" } as const;
  await trained({ ...recipe, steps: 40, out });
  const {
    result: { top1, model },
  } = await trained({ out, steps: 1000 }, { resume: true });
  expect(model).toBe("tiny");
  expect(top1).toBeGreaterThan(0.4); // a guess has 0.25
  const { shapes } = await readCheckpoint(join(out, "checkpoint.safetensors"));
  expect(shapes.get("conv.conv.weight")).toEqual([8, 1, 3, 3]);
  expect(shapes.get("fc.weight")).toEqual([4, 8]);
  expect((await evaluateCheckpoint(out, undefined, { device: "cpu" })).top1).toBe(top1);
  const two = trained({ ...recipe, workers: 2, out: `${out}2` });
  await expect(two).rejects.toThrow(/"tiny" is the script's own/);
});

/** The programs of a script's or a module's own network. */
const built = (own: ModelBuilder) => compileFor(checked("own", own)({ channels: 1, classes: 4 }));

test.each([
  ["momentum.a", /cannot be called "momentum\.a\.weight"; checkpoints use such names/],
  ["rank.0.a", /"rank\.0\.a\.weight"; checkpoints use/],
  ["__metadata__", /"__metadata__\.weight"; checkpoints use/],
  ["a b\n=#", /"a b\\n=#\.weight"; use letters, digits, - and _/],
  ["a\tb", /"a\\x09b\.weight"; use letters/],
  ["", /"\.weight"; use letters/],
  ["a..b", /"a\.\.b\.weight"; use letters/],
])("a layer called %j, which no checkpoint could give back, is refused", (name, says) => {
  const own = network((layers, x, { classes }) =>
    layers.linear(name, globalAveragePool(x), classes),
  );
  expect(() => built(own)).toThrow(says);
});

test.each([
  ["num_batches_tracked", [1], /"num_batches_tracked"; checkpoints use/],
  ["scale", [], /scale has the shape \[\]; expected whole numbers of 1 or more/],
  ["scale", [2.5], /scale has the shape \[2\.5\]; expected whole/],
  ["scale", [0], /scale has the shape \[0\]; expected whole/],
])("a parameter %s of shape [%s] is refused", (name, shape, says) => {
  const own = network((layers, x, { classes }) => {
    layers.parameter(name, "gamma", shape, 1);
    return layers.linear("fc", globalAveragePool(x), classes);
  });
  expect(() => built(own)).toThrow(says);
});

type Convolution = Parameters<Layers["convolution"]>[2];

test.each<[options: object, says: RegExp]>([
  [
    { filter: 8 },
    /^the network own: layer "b": it has no option "filter"; its options are filters,/,
  ],
  [
    { strides: 2 },
    /layer "b": it has no option "strides"; its options are filters, window, stride,/,
  ],
  [{ filters: undefined }, /layer "b": filters is undefined; expected a whole number/],
  [{ filters: 8.5 }, /layer "b": filters is 8\.5; expected a whole number of 1 or more/],
  [{ filters: 0 }, /filters is 0; expected a whole/],
  [{ window: 2 }, /layer "b": window is 2; expected an odd number/],
  [{ window: "3" }, /window is "3"; expected a whole/],
  [{ stride: 0 }, /stride is 0; expected a whole/],
  [{ groups: 3 }, /groups is 3; expected a divisor of 8 channels and 8 filters/],
  [{ groups: 1.5 }, /groups is 1\.5; expected a whole/],
])("a convolution of %j is refused", (options, says) => {
  const wrong = { filters: 8, window: 3, ...options };
  const own = network((layers, x, { classes }) => {
    const y = layers.convolution("a", x, { filters: 8, window: 3 });
    const z = layers.convolution("b", y, wrong as Convolution);
    return layers.linear("fc", globalAveragePool(z), classes);
  });
  expect(() => built(own)).toThrow(says);
});

test.each<[name: string, build: Parameters<typeof network>[0], says: RegExp]>([
  [
    "features that are no count",
    (layers, x) => layers.linear("fc", globalAveragePool(x), 2.5),
    /^the network own: layer "fc": features is 2\.5; expected a whole/,
  ],
  [
    "an op that does not fit",
    (layers, x) => layers.linear("fc", x, 4),
    /^the network own: after it declared fc\.bias: \[linear\] expected /,
  ],
  [
    "a layer that is not used",
    (layers, x) => {
      layers.convNorm("extra", x, { filters: 8, window: 3 });
      return layers.linear("fc", globalAveragePool(x), 4);
    },
    /^the network own: its logits do not depend on extra\.conv\.weight; use it, or/,
  ],
])("names the network and the layer of %s", (_, build, says) => {
  expect(() => built(network(build))).toThrow(says);
  expect(() => built(network(build))).toThrow(UsageError);
});

test("a layer may be called rank, momentum or 0", () => {
  const own = network((layers, x, { classes }) => {
    const y = layers.convolution("rank.a-0", x, { filters: 4, window: 1 });
    const z = layers.convolution("my.momentum", y, { filters: 4, window: 1 });
    return layers.linear("0", globalAveragePool(z), classes);
  });
  expect(() => built(own)).not.toThrow();
});

test.each([
  ["resnet8", tiny, /there is a network resnet8 already/],
  ["./net.ts", tiny, /letters, digits, - and _, and not "\.\/net\.ts"/],
  ["", tiny, /and not ""/],
  ["other", {}, /the builder of other is a function, and not \{\}/],
])("%j is refused", (name, builder, says) => {
  expect(() => addModel(name, builder as never)).toThrow(says);
});

test.each([
  [models, /^mine cannot be changed here: a script adds a network by addModel\(name, builder\)$/],
  [schedules, /^mine cannot be changed here: make your schedule the default export of a module/],
  [optimizers, /^mine cannot be changed here: pass your optimizer to `compile`/],
] as [Record<string, unknown>, RegExp][])("a table that nothing is put into: %#", (table, says) => {
  const changes = [
    () => Object.assign(table, { mine: () => 5 }),
    () => Object.defineProperty(table, "mine", { value: () => 5 }),
    () => Reflect.deleteProperty(table, "mine"),
  ];
  for (const change of changes) expect(change).toThrow(says);
  expect(Object.keys(table)).not.toContain("mine");
});
