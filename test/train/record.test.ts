// Records programs as graphs on all ranks, or on none.
import { expect, test } from "vitest";
import type { Executor } from "../../lib/device/device.js";
import type { RunEvent } from "../../lib/train/events.js";
import { type RunOptions, recordPrograms } from "../../lib/train/prepare.js";
import { worldsOf } from "../support/world.js";

interface Settings {
  kind?: "cpu" | "cuda";
  cudaGraph?: boolean;
}

/** Runs ranks that record, or cannot for the given reason; returns each one's calls and events. */
async function record(
  reasons: readonly (string | undefined)[],
  { kind = "cuda", cudaGraph = true }: Settings = {},
) {
  const calls: string[][] = reasons.map(() => []);
  const events: RunEvent[][] = reasons.map(() => []);
  const ranks = worldsOf(reasons.length).map((world, rank) => {
    const executor: Partial<Executor> = {
      record: async () => {
        calls[rank]!.push("record");
        return reasons[rank];
      },
      forget: async () => {
        calls[rank]!.push("forget");
      },
    };
    const options = {
      recipe: { cudaGraph },
      device: { properties: { kind } },
      world,
      onEvent: (event: RunEvent) => events[rank]!.push(event),
    } as unknown as RunOptions;
    return recordPrograms(options, executor as Executor);
  });
  await Promise.all(ranks);
  return { calls, events };
}

test("ranks that all record replay what they recorded", async () => {
  const { calls, events } = await record([undefined, undefined, undefined]);
  expect(calls).toEqual([["record"], ["record"], ["record"]]);
  expect(events).toEqual([[], [], []]);
});

// Rank 0 reports it, so it is tested as the one that cannot and as one that can.
test.each([0, 1, 2])("all forget where rank %i cannot record, and rank 0 says why", async (bad) => {
  const reasons = [0, 1, 2].map((rank) => (rank === bad ? "a kernel allocates" : undefined));
  const { calls, events } = await record(reasons);
  expect(calls).toEqual([0, 1, 2].map(() => ["record", "forget"]));
  const text = `no CUDA graph is used, since rank ${bad} cannot record one: a kernel allocates`;
  expect(events).toEqual([[{ type: "message", text }], [], []]);
});

test("names the first of several that cannot record", async () => {
  const { calls, events } = await record([undefined, "no memory", "old driver"]);
  expect(calls).toEqual([0, 1, 2].map(() => ["record", "forget"]));
  expect(events[0]).toMatchObject([{ text: expect.stringMatching(/rank 1 .*: no memory$/) }]);
});

test("a rank by itself forgets too: its recording may be in part", async () => {
  const { calls } = await record(["no memory"]);
  expect(calls).toEqual([["record", "forget"]]);
});

test.each<Settings>([{ kind: "cpu" }, { cudaGraph: false }])("%o records nothing", async (off) => {
  const { calls, events } = await record(["no memory", undefined], off);
  expect(calls).toEqual([[], []]);
  expect(events).toEqual([[], []]);
});
