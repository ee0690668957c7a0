// Checks that the CPU and the emulated GPU have a kernel for each op of each program of each model.
import { describe } from "vitest";
import { testOperationsOf } from "../support/operations-of.js";

describe.each(["cpu", "emulated"])("%s", (backend) => {
  testOperationsOf(backend, ["fp32", "bf16", "fp16"], 1);
});
