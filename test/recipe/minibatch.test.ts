// Divides minibatches into micro-batches, and reports those that cannot be divided.
import { expect, test } from "vitest";
import { type MinibatchFields, microBatches } from "../../lib/recipe/minibatch.js";

const imagenet = 1_281_167;

test.each<[MinibatchFields, number]>([
  [{ workers: 8, batch: 32 }, 1],
  [{ workers: 8, batch: 32, accumulate: 3 }, 3],
  [{ workers: 1, batch: 32, minibatch: 8192 }, 256],
  [{ workers: 8, batch: 32, minibatch: 8192 }, 32],
  [{ workers: 256, batch: 32, minibatch: 8192 }, 1],
  [{ workers: 3, batch: 20, minibatch: 60 }, 1],
  [{ workers: 8, batch: 32, minibatch: 8192, accumulate: 32 }, 32],
])("%j accumulates %d", (fields, expected) => {
  expect(microBatches(fields, imagenet)).toBe(expected);
});

test.each<[MinibatchFields, number, RegExp]>([
  [
    { workers: 4, batch: 32, minibatch: 1000 },
    imagenet,
    /1000 images are not a multiple of workers × batch = 4 × 32 = 128; expected 896 or 1024; or try batch 25 or 50$/,
  ],
  [
    { workers: 3, batch: 32, minibatch: 8192 },
    imagenet,
    /expected 8160 or 8256; no batch makes 3 workers have as many each$/,
  ],
  [{ workers: 4, batch: 32, minibatch: 100 }, imagenet, /expected 128; or try batch 25$/],
  [{ workers: 1, batch: 32, minibatch: 100 }, 120, /expected 96; or try batch 25 or 50$/],
  [{ workers: 4, batch: 64, minibatch: 200 }, 210, /expected fewer workers; or try batch 50$/],
  [
    { workers: 2, batch: 32, minibatch: 512 },
    500,
    /there are 500 .* than 512; expected at most 448/,
  ],
  [{ workers: 9, batch: 64, minibatch: 576 }, 500, /expected fewer workers/],
  [
    { workers: 2, batch: 32, minibatch: 512, accumulate: 4 },
    imagenet,
    /512 images need accumulate: 8 \(2 × 8 × 32\), but 4 was asked for as well; leave one/,
  ],
])("refused: %j of %d images", (fields, images, message) => {
  const error = expect.objectContaining({
    code: "ERR_ONEHOUR_RECIPE",
    message: expect.stringMatching(message),
  });
  expect(() => microBatches(fields, images)).toThrow(error);
});
