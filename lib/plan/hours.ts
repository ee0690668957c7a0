// How long a training takes at a forecast step: its epochs, and their evaluations.
import type { Forecast } from "./forecast.js";

/** What is trained and tested. */
export interface Work {
  epochs: number;
  /** Training images of an epoch. */
  images: number;
  /** Test images after each epoch. */
  testImages: number;
}

/** Goyal et al. 2017: 90 epochs of ImageNet-1k. */
export const imagenet: Work = { epochs: 90, images: 1_281_167, testImages: 50_000 };

/** The forward pass has a third of the products of forward and back-propagation. */
const forwardShare = 1 / 3;

/**
 * Hours of the training; undefined where a minibatch holds more than all images. An epoch is floor(images / kn) steps,
 * as `train` takes them. An evaluation is the forward pass over each worker's share of the test images, in batches of
 * n, at the rate at which a node decodes where that is slower.
 */
export function trainingHours(step: Forecast, work: Work, accumulate: number): number | undefined {
  const steps = Math.floor(work.images / step.minibatch);
  if (steps === 0) return undefined;
  const batches = Math.ceil((work.testImages * accumulate) / step.minibatch);
  const perBatch = Math.max(step.compute * forwardShare, step.input) / accumulate;
  return (work.epochs * (steps * step.seconds + batches * perBatch)) / 3600;
}
