// Queues steps: how many are in flight, when results are read, what counts as waiting.
import { setTimeout } from "node:timers/promises";
import { expect, test } from "vitest";
import type { Executor } from "../../lib/device/device.js";
import { Queue, Rate } from "../../lib/train/step-queue.js";

const outputs = {
  metrics: { offset: 0, bytes: 16 },
  finite: { offset: 64, bytes: 8 },
  scaling: { offset: 128, bytes: 0 },
};

/** A device that takes `duration` ms for each submission, one after another. */
function fakeExecutor(duration: number) {
  const buffers = Array.from({ length: 3 }, () => new Uint8Array(128));
  const seen = { inFlight: 0, most: 0, submissions: 0 };
  let last = Promise.resolve();
  const submit = (_: string, slot: number) => {
    seen.most = Math.max(seen.most, ++seen.inFlight);
    const id = ++seen.submissions;
    last = last.then(async () => {
      await setTimeout(duration);
      new Float32Array(buffers[slot]!.buffer, 0, 4).set([id, 2 * id, 3 * id, 4]);
      new Float32Array(buffers[slot]!.buffer, 64, 2).set([0, id]);
      seen.inFlight--;
    });
    return last;
  };
  const executor = { slots: 3, submit, output: (slot: number) => buffers[slot]! };
  return { executor: executor as unknown as Executor, seen };
}

test("all slots are kept busy, and results come in order from their slots", async () => {
  const { executor, seen } = fakeExecutor(5);
  const queue = new Queue(executor, outputs);
  const losses: number[] = [];
  for (let step = 0; step < 10; step++) {
    queue.submit("last", await queue.acquire(), (slot) => {
      losses.push(queue.metrics(slot).loss);
      expect(queue.metrics(slot)).toMatchObject({ top1: 2 * losses.length, images: 4 });
      expect([...queue.finite(slot)]).toEqual([0, losses.length]);
    });
  }
  await queue.drain();
  expect(losses).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  expect(seen.most).toBe(3);
});

test("measures the wait of a device without input, and none of a busy one", async () => {
  const run = async (duration: number, preparation: number) => {
    const queue = new Queue(fakeExecutor(duration).executor, outputs);
    const start = performance.now();
    for (let step = 0; step < 8; step++) {
      const slot = await queue.acquire();
      if (preparation > 0) await setTimeout(preparation);
      queue.submit("last", slot);
    }
    await queue.drain();
    return queue.idle / (performance.now() - start);
  };
  expect(await run(20, 0)).toBeLessThan(0.1);
  expect(await run(2, 30)).toBeGreaterThan(0.5);
});

test("two results read together do not double the rate", () => {
  const rate = new Rate(4);
  rate.begin(0);
  expect(rate.step(100)).toBe(10);
  expect(rate.step(300)).toBeCloseTo(2 / 0.3, 10);
  expect(rate.step(300)).toBe(10); // read late, both at once
  expect(rate.step(400)).toBe(10);
  expect(rate.step(900)).toBe(5); // of the last four
  rate.pause();
  rate.begin(5000);
  expect(rate.step(5100)).toBe(10);
});

test("the next request for a slot throws the error of its last submission", async () => {
  const executor = { slots: 2, submit: () => Promise.reject(new Error("the device is gone")) };
  const queue = new Queue(executor as unknown as Executor, outputs);
  queue.submit("last", await queue.acquire());
  await setTimeout(1);
  queue.submit("last", await queue.acquire());
  await expect(queue.acquire()).rejects.toThrow("the device is gone");
  await expect(queue.drain()).rejects.toThrow("the device is gone");
});
