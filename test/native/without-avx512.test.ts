// Runs the tests of convolutions, products and pools as on a processor without AVX-512, where
// oneDNN has no bf16: a variable set before the library loads limits the instructions that it uses.
import { vi } from "vitest";

vi.hoisted(() => {
  process.env.DNNL_MAX_CPU_ISA = "AVX2";
});

import { testCases } from "../support/cases.js";

testCases(["conv", "linear", "max-pool"]);

import "../ops/conv.test.js";
import "../ops/pool.test.js";
