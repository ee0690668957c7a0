// The command line that stands on the page of an experiment is that of the experiment.
import { expect, test } from "vitest";
import { experimentCommand } from "../../lib/experiment/command.js";
import { type ExperimentInput, readExperiment } from "../../lib/experiment/options.js";

const commandOf = (name: string, given: ExperimentInput) =>
  experimentCommand(readExperiment(name, given));

test("it names what differs from the defaults, and no folder", () => {
  expect(commandOf("paper", {})).toBe("npx onehour experiment paper");
  expect(commandOf("figure1", { out: "/home/me/x", seeds: 3, budget: "1.5h", jobs: 1 })).toBe(
    "npx onehour experiment figure1 --seeds 3 --budget 90m --jobs 1",
  );
  expect(commandOf("table1", { epochs: 7, dataset: "a folder" })).toBe(
    "npx onehour experiment table1 --dataset 'a folder' --epochs 7",
  );
  const given = { minibatches: [512, 64], milestones: [], firstSeed: 1000, budget: "none" };
  expect(commandOf("figure1", given)).toBe(
    "npx onehour experiment figure1 --budget none --first-seed 1000 --minibatches 64,512 --milestones none",
  );
  expect(commandOf("remarks", { model: "resnet8" })).toBe(
    "npx onehour experiment remarks --model resnet8",
  );
  expect(commandOf("figure1", { budget: "90s" })).toBe(
    "npx onehour experiment figure1 --budget 90s",
  );
});
