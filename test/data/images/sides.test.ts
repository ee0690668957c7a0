// Sizes of a folder's training and test images, and of what they are cut out of.
import { expect, test } from "vitest";
import { sidesOf } from "../../../lib/data/images/sides.js";

const of = (size: number, shortSide: number) => ({ size, shortSide });

test("without sizes both are 224 pixels out of 256, as in the paper", () => {
  expect(sidesOf({})).toEqual({ train: of(224, 256), test: of(224, 256) });
  expect(sidesOf({ defaultSize: 28 })).toEqual({ train: of(28, 32), test: of(28, 32) });
});

test("training without crops takes the same part of an image as the test", () => {
  const torchvision = { imageSize: 176, testImageSize: 224, testResize: 232 };
  expect(sidesOf(torchvision)).toEqual({ train: of(176, 182), test: of(224, 232) });
  expect(sidesOf({ imageSize: 16, testImageSize: 24 }).test).toEqual(of(24, 27));
  expect(sidesOf({ imageSize: 16, defaultScale: 17 / 16 }).test).toEqual(of(16, 17));
});

test.each([
  [
    { testImageSize: 7 },
    /^testImageSize: expected a whole number of pixels from 8 to 4096, got 7$/,
  ],
  [{ testImageSize: 16.5 }, /^testImageSize: /],
  [{ imageSize: 4097 }, /^imageSize: /],
  [
    { testResize: 15 },
    /^testResize: 16 × 16 pixels are cut out of .* side has 15; expected .* 16 to 64$/,
  ],
  [{ testResize: 65 }, /^testResize: .*from 16 to 64$/],
  [{ testImageSize: 24, testResize: 20 }, /^testResize: 24 × 24 .*from 24 to 96$/],
  [{ testResize: 20.5 }, /^testResize: /],
])("sizes that cannot be: %o", (options, message) => {
  const refused = () => sidesOf({ imageSize: 16, ...options });
  expect(refused).toThrow(message);
  expect(refused).toThrow(expect.objectContaining({ code: "ERR_ONEHOUR_RECIPE" }));
});
