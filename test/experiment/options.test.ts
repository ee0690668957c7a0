import { expect, test } from "vitest";
import { readExperiment } from "../../lib/experiment/options.js";
import { setting } from "../../lib/experiment/setting.js";

test("an experiment has the setting of the table, five seeds and an hour", () => {
  expect(readExperiment("paper", {})).toEqual({
    ...{ name: "paper", out: "experiments/paper", seeds: 5, budget: 3600, jobs: undefined },
    firstSeed: 1,
    setting: { ...setting, milestones: [...setting.milestones] },
  });
});

test("warm-up and milestones go with the epochs, and minibatches are sorted, each once", () => {
  const { setting: changed } = readExperiment("figure1", {
    epochs: 9,
    minibatches: [512, 64, 512],
  });
  expect(changed).toMatchObject({
    ...{ milestones: [3, 6, 8], warmupEpochs: 1, minibatches: [64, 512] },
  });
  expect(readExperiment("figure1", { epochs: 9, warmupEpochs: 0 }).setting.warmupEpochs).toBe(0);
  expect(readExperiment("figure1", { milestones: [] }).setting.milestones).toEqual([]);
  expect(readExperiment("figure1", { milestones: [8, 2] }).setting.milestones).toEqual([2, 8]);
});

test.each([
  ["fashion-mnist", false],
  ["fashion-mnist:/elsewhere", false],
  ["/images", true],
])("training images of %s are cropped and flipped: %s", (dataset, augment) => {
  expect(readExperiment("figure1", { dataset }).setting.augment).toBe(augment);
});

test.each([
  ["90s", 90],
  ["60m", 3600],
  ["1.5h", 5400],
  ["none", Number.POSITIVE_INFINITY],
])("a budget of %s", (budget, seconds) => {
  expect(readExperiment("figure1", { budget }).budget).toBe(seconds);
});

test.each([
  ["figure9", {}, /no experiment "figure9"; expected one of figure1, table1/],
  ["toString", {}, /no experiment "toString"/],
  ["paper", { budget: "60" }, /budget: expected a duration, for example 60m, or none; got "60"/],
  ["paper", { budget: "0m" }, /budget: expected a duration/],
  ["paper", { budget: "-5m" }, /budget: expected a duration/],
  ["paper", { budget: "" }, /budget: expected a duration/],
  ["paper", { seeds: 0 }, /seeds: expected a whole number of 1 or more/],
  ["paper", { jobs: 1.5 }, /jobs: expected a whole number/],
  ["paper", { minibatches: [64, 100] }, /minibatches: expected multiples of n = 32, got 100/],
  ["paper", { minibatches: [0] }, /minibatches: expected a whole number of 32 or more/],
  ["paper", { minibatches: [] }, /minibatches: expected a minibatch or more/],
  ["paper", { large: 256 }, /large: expected more than 256 images/],
  ["paper", { large: 1000 }, /large: expected multiples of n = 32/],
  ["paper", { epochs: 0 }, /epochs: expected a number above 0/],
  ["paper", { epochs: 2, milestones: [1, 2] }, /milestones: 2 is not before the end of 2 epochs/],
  ["figure1", { large: 1024 }, /^large changes nothing in figure1; leave it out$/],
  ["table1", { minibatches: [64] }, /minibatches changes nothing in table1/],
  ["remarks", { lr: 0.1 }, /lr changes nothing in remarks/],
  ["remarks", { seeds: 3 }, /seeds changes nothing in remarks/],
  ["paper", { out: "" }, /out: expected text, got nothing/],
  ["paper", { sedes: 3 }, /no option "sedes"; did you mean seeds/],
])("%s with %o is refused", (name, input, message) => {
  expect(() => readExperiment(name, input as never)).toThrow(message);
});
