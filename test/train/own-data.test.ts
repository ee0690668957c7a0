// Adds a data set from a script: train() finds it in this process, not in workers that it starts.
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { datasets, openDataset } from "../../lib/data/datasets.js";
import { train } from "../../lib/train/train.js";
import { temporaryFolder } from "../support/folder.js";
import { trained } from "../support/training.js";

const folder = temporaryFolder();
const builtIn = { ...datasets };
afterEach(() => {
  delete datasets.mine;
  Object.assign(datasets, builtIn);
});

const recipe = { model: "resnet8", batch: 8, steps: 2, threads: 1, device: "cpu" } as const;
const opened = openDataset("synthetic:12x12x1:4:64");

test("trains with one worker, and is refused with two", async () => {
  datasets.mine = async () => ({ ...(await opened), name: "mine" });
  const mine = { ...recipe, dataset: "mine" };
  const options = { output: null };
  const out = join(folder, "two");
  await expect(train({ ...mine, workers: 2, out }, options)).rejects.toMatchObject({
    code: "ERR_ONEHOUR_RECIPE",
    message: expect.stringMatching(/"mine" is the script's own.*onehour launch --workers 2/),
  });
  const { steps } = await train({ ...mine, out: join(folder, "one") }, options);
  expect(steps).toBe(2);
});

test("counts as the script's own under a built-in name too", async () => {
  const own = await opened;
  datasets.synthetic = async () => own;
  const replaced = { ...recipe, dataset: "synthetic", workers: 2, out: join(folder, "replaced") };
  await expect(train(replaced, { output: null })).rejects.toThrow(/the script's own/);
});

test.each<[string, unknown, RegExp]>([
  ["no function", 5, /^datasets\.mine is 5; expected a function that opens a data set$/],
  ["nothing", async () => undefined, /^datasets\.mine: it opened undefined; expected a data set$/],
  ["an empty one", async () => ({}), /^datasets\.mine: name is undefined; expected text$/],
  [
    "one that throws",
    () => {
      throw new Error("no luck");
    },
    /^datasets\.mine: cannot be opened \(no luck\)$/,
  ],
  [
    "a getter that throws",
    async () => ({
      get name() {
        throw new Error("no luck");
      },
    }),
    /^datasets\.mine: cannot be opened \(no luck\)$/,
  ],
  [
    "a label beyond the classes",
    async () => ({ ...(await opened), classes: 2 }),
    /^datasets\.mine: the label of image \d+ is [23]; expected a whole number below 2$/,
  ],
  [
    "batches ahead that are not a number",
    async () => ({ ...(await opened), ahead: () => Number.NaN }),
    /^datasets\.mine: ahead gives NaN; expected a whole number of 0 or more$/,
  ],
  [
    "batches ahead that throw",
    async () => ({
      ...(await opened),
      ahead: () => {
        throw new Error("no luck");
      },
    }),
    /^datasets\.mine: ahead failed \(no luck\)$/,
  ],
])("%s is refused by name", async (what, opener, message) => {
  datasets.mine = opener as never;
  const out = join(folder, what);
  const failing = trained({ ...recipe, dataset: "mine:1", out });
  await expect(failing).rejects.toThrow(message);
  await expect(failing).rejects.toMatchObject({
    name: expect.stringMatching(/OnehourError|UsageError/),
  });
});
