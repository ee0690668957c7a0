// Max pooling and global average pooling against PyTorch.
import { globalAveragePool, maxPool } from "../../lib/ops/index.js";
import { BF16_TOLERANCE, F32_TOLERANCE, testFamily } from "../support/op-cases.js";

testFamily("max-pool", {
  inputs: () => ({ x: "T" }),
  build: (_, { x }, { window, stride, padding }) => maxPool(x!, { window, stride, padding }),
  tolerance: ({ dtype }) => (dtype === "bf16" ? BF16_TOLERANCE : F32_TOLERANCE),
  // Values are 1/16 apart, so that no maximum changes within a step of 1/64: linear up to there.
  // Where values tie there is no derivative.
  finiteDifference: ({ values }) =>
    values === "ties" ? undefined : { step: 1 / 64, tolerance: 1e-4 },
});

testFamily("global-average-pool", {
  inputs: () => ({ x: "T" }),
  build: (_, { x }) => globalAveragePool(x!),
  tolerance: ({ dtype }) => (dtype === "bf16" ? BF16_TOLERANCE : F32_TOLERANCE),
  finiteDifference: () => ({ step: 1, tolerance: 1e-5 }), // linear
});
