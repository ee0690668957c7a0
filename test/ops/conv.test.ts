// Convolution against PyTorch.
import { conv2d } from "../../lib/ops/index.js";
import { BF16_TOLERANCE, F32_TOLERANCE, testFamily } from "../support/op-cases.js";

testFamily("conv", {
  inputs: () => ({ x: "T", w: "T" }),
  build: (_, { x, w }, { stride, padding }) => conv2d(x!, w!, { stride, padding }),
  tolerance: ({ dtype }) => (dtype === "bf16" ? BF16_TOLERANCE : F32_TOLERANCE),
  // Linear in each input: no truncation error, so a large step makes rounding small.
  finiteDifference: () => ({ step: 1, tolerance: 1e-5 }),
});
