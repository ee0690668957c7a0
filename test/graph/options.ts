// Options and names that the tests of compiled programs share.
import type { CompileOptions } from "../../lib/graph/compile.js";
import type { Model } from "../../lib/models/model.js";
import { models } from "../../lib/models/resnet.js";

/** Ops that every backend has. */
export const operations: ReadonlySet<string> = new Set([
  "add",
  "all-gather",
  "all-reduce",
  "batch-norm-apply",
  "batch-norm-backward",
  "batch-norm-finalize",
  "batch-norm-inference",
  "batch-norm-reduce",
  "batch-norm-statistics",
  "broadcast",
  "conv2d",
  "conv2d-backward-data",
  "conv2d-backward-weight",
  "copy",
  "global-average-pool",
  "global-average-pool-backward",
  "linear",
  "linear-backward-data",
  "linear-backward-weight",
  "max-pool",
  "max-pool-backward",
  "normalize-input",
  "relu",
  "relu-backward",
  "scale",
  "sgd",
  "softmax-cross-entropy",
  "softmax-cross-entropy-backward",
]);

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
    operations,
    channelMultiple: small ? 1 : 4,
    slots: 2,
    ...changes,
  };
}
