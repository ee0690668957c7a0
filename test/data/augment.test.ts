// Crops and flips images, and checks what the draws depend on.
import { expect, test } from "vitest";
import { drawAugmentation, shiftImage } from "../../lib/data/augment.js";

const shape = { height: 3, width: 4, channels: 2 };
const image = Uint8Array.from({ length: 24 }, (_, i) => i + 1);

/** The pixel that belongs at (y, x), by definition. */
function pixel(y: number, x: number, c: number): number {
  const inside = y >= 0 && y < shape.height && x >= 0 && x < shape.width;
  return inside ? image[(y * shape.width + x) * shape.channels + c]! : 0;
}

test("a shifted image is the crop of the zero-padded one", () => {
  for (let down = -4; down <= 4; down++) {
    for (let right = -5; right <= 5; right++) {
      const target = new Uint8Array(30).fill(99);
      shiftImage(image, shape, down, right, target, 3);
      for (let y = 0; y < shape.height; y++) {
        for (let x = 0; x < shape.width; x++) {
          for (let c = 0; c < shape.channels; c++) {
            const at = 3 + (y * shape.width + x) * shape.channels + c;
            expect(target[at]).toBe(pixel(y - down, x - right, c));
          }
        }
      }
      expect([...target.subarray(0, 3), ...target.subarray(27)]).toEqual(new Array(6).fill(99));
    }
  }
});

test("draws depend on seed, epoch and image, and cover every offset and flip", () => {
  const augmentation = { padding: 4, flip: true };
  const seen = new Set<string>();
  let flips = 0;
  for (let index = 0; index < 2000; index++) {
    const draw = drawAugmentation(augmentation, 1, 0, index);
    expect(drawAugmentation(augmentation, 1, 0, index)).toEqual(draw);
    seen.add(`${draw.down} ${draw.right}`);
    flips += Number(draw.flip);
  }
  expect(seen.size).toBe(81);
  expect(Math.abs(flips - 1000)).toBeLessThan(120);
  const of = (seed: number, epoch: number) =>
    Array.from({ length: 20 }, (_, i) => drawAugmentation(augmentation, seed, epoch, i));
  expect(of(1, 1)).not.toEqual(of(1, 0));
  expect(of(2, 0)).not.toEqual(of(1, 0));
});
