// How large the images of a folder become: what is cut out for training and for the test, and of how large an image.

import { refuse } from "../../recipe/fields.js";
import type { DatasetOptions } from "../dataset.js";

/** Pixels of both sides where no size is named. */
export const usualSize = 224;
const leastSize = 8;
const mostSize = 4096;
/** The shorter side before the centre is cut out, in the output's sides: 256 / 224, and the most. */
const usualScale = 8 / 7;
const mostScale = 4;

/** Pixels of both sides of a part's images, and of the shorter side before the centre is cut out. */
export interface Sides {
  size: number;
  shortSide: number;
}

/**
 * The sides of training and of test images. The centre that training takes where it draws no crops is the
 * same part of an image as the test's. Throws ERR_ONEHOUR_RECIPE for sides that cannot be.
 */
export function sidesOf(options: DatasetOptions): { train: Sides; test: Sides } {
  const size = options.imageSize ?? options.defaultSize ?? usualSize;
  const { testImageSize = size, testResize, defaultScale = usualScale } = options;
  for (const [name, side] of Object.entries({ imageSize: size, testImageSize })) {
    if (Number.isInteger(side) && side >= leastSize && side <= mostSize) continue;
    throw refuse(
      name as "imageSize",
      `expected a whole number of pixels from ${leastSize} to ${mostSize}, got ${side}`,
    );
  }
  const shortSide = testResize ?? Math.round(testImageSize * defaultScale);
  const most = mostScale * testImageSize;
  if (!(Number.isInteger(shortSide) && shortSide >= testImageSize && shortSide <= most)) {
    throw refuse(
      "testResize",
      `${testImageSize} × ${testImageSize} pixels are cut out of images whose shorter side has ` +
        `${shortSide}; expected a whole number from ${testImageSize} to ${most}`,
    );
  }
  return {
    train: { size, shortSide: Math.round((size * shortSide) / testImageSize) },
    test: { size: testImageSize, shortSide },
  };
}
