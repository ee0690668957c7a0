// Ranks that differ, at the start and later.
import { expect, test } from "vitest";
import { requireSameFacts, requireSameTensors } from "../../lib/train/agreement.js";
import { alone, type Team } from "../../lib/train/team.js";

/** Rank 0 of a team whose other ranks say what is given. */
const among = (...others: object[]): Team => ({
  ...alone,
  size: 1 + others.length,
  gather: async (_, value) => [value, ...others.map((other) => JSON.stringify(other))],
});

test("other recipes, data or programs are refused, showing both", async () => {
  const facts = { recipe: '{"model":"resnet8","lr":0.1,"steps":3}', programs: "0123" };
  await requireSameFacts(among(facts, facts), facts);
  await expect(
    requireSameFacts(among(facts, { ...facts, recipe: '{"model":"resnet8","lr":0.2}' }), facts),
  ).rejects.toThrow(
    /recipe of rank 2 is not that of rank 0: lr 0\.2, steps unset, but rank 0 has lr 0\.1, steps 3\./,
  );
  await expect(requireSameFacts(among({ ...facts, programs: "abc" }), facts)).rejects.toThrow(
    /programs of rank 1 is not that of rank 0: abc, but rank 0 has 0123\./,
  );
});

test("parameters that drifted are named, with the rank", async () => {
  const sums = { "conv1.weight": "01", "fc.bias": "02" };
  await requireSameTensors(among(sums), 7, sums);
  const drifted = requireSameTensors(among({ ...sums, "fc.bias": "03" }), 7, sums);
  await expect(drifted).rejects.toThrow(/after 7 steps fc\.bias of rank 1/);
  await expect(drifted).rejects.toMatchObject({ code: "ERR_ONEHOUR_RANKS_DIFFER" });
});
