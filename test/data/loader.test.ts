// Checks what the loader writes into slots.
import { expect, test } from "vitest";
import { drawAugmentation } from "../../lib/data/augment.js";
import { Loader } from "../../lib/data/loader.js";
import { openStored } from "./stored.js";

const batch = 4;
const size = 12 * 12;
const layout = {
  images: { offset: 0, bytes: batch * size },
  flips: { offset: 576, bytes: batch },
  labels: { offset: 640, bytes: 4 * batch },
};
const dataset = await openStored("synthetic:12x12x1:5:50");

function view(slot: Uint8Array) {
  return {
    image: (i: number) => [...slot.subarray(i * size, (i + 1) * size)],
    flips: [...slot.subarray(576, 576 + batch)],
    labels: [...new Int32Array(slot.buffer, layout.labels.offset, batch)],
  };
}

function plain(split: typeof dataset.train, index: number): { image: number[]; label: number } {
  const target = new Uint8Array(size);
  const label = split.read(index, target, 0);
  return { image: [...target], label };
}

test("without augmentation images are written as they are", async () => {
  const loader = new Loader({ dataset, layout, batch, seed: 1, augment: false });
  const slot = new Uint8Array(768).fill(77);
  await loader.fillTraining(slot, Uint32Array.of(3, 1, 4, 1), 0);
  const { image, flips, labels } = view(slot);
  [3, 1, 4, 1].forEach((index, i) => {
    expect(image(i)).toEqual(plain(dataset.train, index).image);
    expect(labels[i]).toBe(plain(dataset.train, index).label);
  });
  expect(flips).toEqual([0, 0, 0, 0]);
  expect([...slot.subarray(656)]).toEqual(new Array(768 - 656).fill(77)); // the rate is not its work
});

test("an augmented image does not depend on its place in the batch", async () => {
  const loader = new Loader({ dataset, layout, batch, seed: 1, augment: true });
  const [first, second] = [new Uint8Array(768), new Uint8Array(768).fill(9)];
  await loader.fillTraining(first, Uint32Array.of(7, 8, 9, 10), 2);
  await loader.fillTraining(second, Uint32Array.of(10, 9, 8, 7), 2);
  for (let i = 0; i < batch; i++) {
    expect(view(first).image(i)).toEqual(view(second).image(batch - 1 - i));
    const draw = drawAugmentation(dataset.augmentation, 1, 2, 7 + i);
    expect(view(first).flips[i]).toBe(Number(draw.flip));
  }
});

test("the last evaluation batch is padded with label −1", async () => {
  const loader = new Loader({ dataset, layout, batch, seed: 1, augment: true });
  const slot = new Uint8Array(768).fill(77);
  await loader.fillEvaluation(slot, 1, 2);
  const { image, flips, labels } = view(slot);
  expect(image(0)).toEqual(plain(dataset.test, 1).image);
  expect(image(1)).toEqual(plain(dataset.test, 2).image);
  expect(labels).toEqual([plain(dataset.test, 1).label, plain(dataset.test, 2).label, -1, -1]);
  expect(flips).toEqual([0, 0, 0, 0]);
});
