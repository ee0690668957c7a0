// The fully connected layer against PyTorch.
import { linear } from "../../lib/ops/index.js";
import { BF16_TOLERANCE, F32_TOLERANCE, testFamily } from "../support/op-cases.js";

testFamily("linear", {
  inputs: () => ({ x: "T", w: "T", b: "f32" }),
  build: (_, { x, w, b }) => linear(x!, w!, b!),
  tolerance: ({ dtype }) => (dtype === "bf16" ? BF16_TOLERANCE : F32_TOLERANCE),
  finiteDifference: () => ({ step: 1, tolerance: 1e-5 }), // linear in each input
});
