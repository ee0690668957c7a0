// Checks that the CUDA module has a kernel for each op of each program of each model.
import { describe } from "vitest";
import { tellWithoutCuda, withoutCuda } from "../support/cuda.js";
import { testOperationsOf } from "../support/operations-of.js";

tellWithoutCuda("test/native/operations.heavy.ts");

describe.skipIf(withoutCuda !== undefined)("the CUDA module", () => {
  testOperationsOf("cuda", ["fp32", "tf32", "bf16", "fp16"], 4);
});
