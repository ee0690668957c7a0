// The functions that build graphs. Of files whose op definitions the rest of lib uses, the functions by name.
export { type BatchNormOptions, batchNorm } from "./batch-norm.js";
export * from "./channels.js";
export { allGather, allReduce, broadcast, type Group } from "./collective.js";
export { type ConvolutionOptions, conv2d, type Pair } from "./conv.js";
export * from "./elementwise.js";
export * from "./linear.js";
export * from "./loss.js";
export { lossScale } from "./loss-scale.js";
export * from "./norms.js";
export { type SgdOptions, sgd } from "./optimizers/sgd.js";
export { averagePool, globalAveragePool, maxPool, type PoolOptions } from "./pool.js";
