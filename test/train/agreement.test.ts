// Compares ranks at the start and later, and names those that differ.
import { expect, test } from "vitest";
import type { World } from "../../lib/ranks/world.js";
import { requireSameFacts, requireSameTensors } from "../../lib/train/agreement.js";
import { worldOf } from "../support/world.js";

/** Rank 0 of a world whose other ranks send these values. */
const among = (...others: object[]): World =>
  worldOf({
    worldSize: 1 + others.length,
    gather: async (_, value) => [value, ...others.map((other) => JSON.stringify(other))],
  });

test("other recipes, data or programs are refused, showing both", async () => {
  const facts = { recipe: { model: "resnet8", lr: 0.1, steps: 3 }, programs: "0123" };
  await requireSameFacts(among(facts, facts), facts);
  await expect(
    requireSameFacts(among(facts, { ...facts, recipe: { model: "resnet8", lr: 0.2 } }), facts),
  ).rejects.toThrow(
    /^rank 2 has recipe lr 0\.2, steps unset, rank 0 has lr 0\.1, steps 3\. Start all/,
  );
  await expect(requireSameFacts(among({ ...facts, programs: "abc" }), facts)).rejects.toThrow(
    /^rank 1 has programs abc, rank 0 has 0123\./,
  );
});

test.each([
  ["1", "2"],
  ["null", "true"],
  ["[1]", "[2]"],
  ['{"a":1}', '{"a": 1}'],
])("a fingerprint is text, even %s", async (first, other) => {
  await expect(
    requireSameFacts(among({ "data set": other }), { "data set": first }),
  ).rejects.toThrow(`rank 1 has data set ${other}, rank 0 has ${first}. `);
});

/** The same, after `step` steps each. */
const amongReplicas = (...others: object[]) =>
  among(...others.map((checksums) => ({ step: 7, checksums })));

const sums = { "conv1.weight": "01", "fc.bias": "02" };
const drifted = { ...sums, "fc.bias": "03" };
const run = { step: 7, out: "runs/x" };

test("equal replicas pass", async () => {
  await requireSameTensors(amongReplicas(sums, sums), run, sums);
});

test.each<[string, object[], RegExp]>([
  [
    "of two both are named",
    [drifted],
    /^after 7 steps fc\.bias differs between rank 0, rank 1, and nothing says which is right: /,
  ],
  ["of three the one", [sums, drifted], /fc\.bias of rank 2 is not that of the other 2 ranks: /],
  ["rank 0 too", [drifted, drifted], /fc\.bias of rank 0 is not that of the other 2 ranks: /],
  [
    "several",
    [drifted, sums, sums, { ...sums, "fc.bias": "04" }],
    /fc\.bias of ranks 1 and 4 is not that of the other 3 ranks: /,
  ],
  [
    "two against two",
    [sums, drifted, drifted],
    /fc\.bias differs between ranks 0 and 1, ranks 2 and 3, and nothing says which/,
  ],
  [
    "all of three",
    [drifted, { ...sums, "fc.bias": "04" }],
    /differs between rank 0, rank 1, rank 2, and nothing says which/,
  ],
  ["what a rank lacks", [sums, { "conv1.weight": "01" }], /fc\.bias of rank 2 is not that/],
  ["what only one has", [sums, { ...sums, more: "05" }], /more of rank 2 is not that of/],
])("replicas that drifted are named: %s", async (_, others, message) => {
  const failing = requireSameTensors(amongReplicas(...others), run, sums);
  await expect(failing).rejects.toThrow(message);
  await expect(failing).rejects.toThrow(/onehour train --resume --out runs\/x$/);
  await expect(failing).rejects.toMatchObject({ code: "ERR_ONEHOUR_RANKS_DIFFER" });
});

test("names ranks with different numbers of steps, which wait for nobody", async () => {
  const ahead = { step: 8, checksums: drifted };
  const late = { step: 7, checksums: sums };
  await expect(requireSameTensors(among(ahead, late), run, sums)).rejects.toThrow(
    /^the number of steps done of rank 1 is not that of the other 2 ranks: /,
  );
});
