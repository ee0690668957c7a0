// The functions that build graphs.
export { type BatchNormOptions, batchNorm } from "./batch-norm.js";
export { addBias, concatenate, multiply } from "./channels.js";
export { allGather, allReduce, broadcast, type Group } from "./collective.js";
export { type ConvolutionOptions, conv2d, type Pair } from "./conv.js";
export { add, cast, flatten, normalizeInput, relu, scale, sigmoid } from "./elementwise.js";
export { linear } from "./linear.js";
export { softmaxCrossEntropy } from "./loss.js";
export { clipNorm, norms } from "./norms.js";
export { larsTrust } from "./optimizers/lars.js";
export { type SgdOptions, sgd } from "./optimizers/sgd.js";
export { averagePool, globalAveragePool, maxPool } from "./pool.js";
