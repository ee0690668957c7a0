// What a verification reports of the searches for plans.
import { expect, it } from "vitest";
import { describeSearches } from "../../../proof/results/plans.js";

const trial = (milliseconds: number | null, { fused = false, repeats = true } = {}) => ({
  engine: "engine 1",
  fused,
  repeats,
  milliseconds,
});
const search = (...trials: ReturnType<typeof trial>[]) => ({
  name: "conv2d",
  seconds: 1.5,
  trials,
});

it("counts searches, and those that a fused plan won", () => {
  const won = search(trial(1, { fused: true }), trial(2));
  const lost = search(trial(null, { fused: true }), trial(2));
  expect(describeSearches([won, lost, search(trial(3))])).toEqual([
    "3 searches, 5 trials, 4.5 s",
    "a fused plan was the fastest in 1 of 2 searches that tried one",
  ]);
});

it("compares the engines whose bits do not repeat with those whose bits do", () => {
  const faster = search(trial(4), trial(3), trial(2, { repeats: false }));
  const slower = search(trial(1), trial(2, { repeats: false }));
  const alone = search(trial(2, { repeats: false }));
  expect(describeSearches([faster, slower, alone]).at(-1)).toBe(
    "an engine whose bits do not repeat was faster in 1 of 3 searches that compared one: " +
      "2.000 ms where the others take 3.000",
  );
});

it("says nothing where there was no search", () => {
  expect(describeSearches([])).toEqual([]);
});
