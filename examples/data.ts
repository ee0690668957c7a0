// A data set of your own: the default export opens it.
//   npx onehour train examples/data.ts --model examples/net.ts
import type { Dataset, StoredSplit } from "onehour";

const size = 16;

/** Images of stripes: lying, standing or slanting. */
function stripes(length: number, seed: number): StoredSplit {
  return {
    length,
    read(index, target, offset) {
      const label = index % 3;
      const shift = (index * 5 + seed) % 8;
      for (let y = 0; y < size; y++) {
        for (let x = 0; x < size; x++) {
          const along = [y, x, x + y][label]!;
          target[offset + y * size + x] = ((along + shift) & 4) === 0 ? 60 : 190;
        }
      }
      return label;
    },
  };
}

export default async (): Promise<Dataset> => ({
  name: "stripes",
  images: { height: size, width: size, channels: 1 },
  classes: 3,
  mean: [0.5],
  std: [0.25],
  augmentation: { padding: 2, flip: false },
  train: stripes(1536, 0),
  test: stripes(96, 3),
  defaultEpochs: 2,
  fingerprint: "stripes-1",
});
