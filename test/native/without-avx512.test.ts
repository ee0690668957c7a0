// Convolutions, products and pools once more as on a processor without AVX-512, where oneDNN has no
// bf16: the tests of these ops, in a process that is told so before the library is loaded.
import { vi } from "vitest";

vi.hoisted(() => {
  process.env.DNNL_MAX_CPU_ISA = "AVX2";
});

import "../ops/conv.test.js";
import "../ops/linear.test.js";
import "../ops/pool.test.js";
