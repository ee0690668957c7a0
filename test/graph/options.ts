// Options that the tests of compiled programs share.
import type { CompileOptions } from "../../lib/graph/compile.js";
import type { Model } from "../../lib/models/model.js";
import { models } from "../../lib/models/resnet.js";
import { commonOps } from "../../lib/ops/book.js";

export const imagenetMean = [0.485, 0.456, 0.406];

/** A model at the size of images that it is made for. */
export function modelOf(name: string): Model {
  const builder = models[name]!;
  return builder.smallImages
    ? builder({ images: { height: 28, width: 28, channels: 1 }, classes: 10 })
    : builder({ images: { height: 224, width: 224, channels: 3 }, classes: 1000 });
}

/** The paper's settings on one worker, changed as asked. */
export function optionsFor(model: Model, changes: Partial<CompileOptions> = {}): CompileOptions {
  const small = model.images.channels === 1;
  return {
    batch: 2,
    accumulate: 1,
    workers: 1,
    syncBatchNorm: 1,
    precision: "fp32",
    momentum: 0.9,
    momentumForm: "gradient",
    nesterov: true,
    weightDecay: 1e-4,
    labelSmoothing: 0,
    mean: small ? [0.286] : imagenetMean,
    std: small ? [0.353] : [0.229, 0.224, 0.225],
    operations: commonOps,
    channelMultiple: small ? 1 : 4,
    slots: 2,
    ...changes,
  };
}
