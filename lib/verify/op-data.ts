// Computes on the CPU what the quick op cases are compared with, for scripts/bundle:
//   node dist/verify/op-data.js FOLDER
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { defaultThreads } from "../cores.js";
import { openBackend } from "../device.js";
import { operandBytes } from "../graph/parse.js";
import { loadAddon } from "../native.js";
import { comparedOf, dataName, expansions, resultsOf } from "./expected.js";
import { opCases } from "./op-cases.js";
import type { OpCase } from "./op-check.js";

/** Of one case: what is larger is computed where the GPU is, in less time than it takes to carry. */
const limit = 2.5e6;

const sizeOf = (opCase: OpCase) =>
  comparedOf(opCase)
    .flatMap(({ outputs }) => outputs)
    .reduce((sum, operand) => sum + operandBytes(operand), 0);

const folder = process.argv[2]!;
mkdirSync(folder, { recursive: true });
using reference = openBackend("cpu", defaultThreads());
let [count, total] = [0, 0];
const emulated = loadAddon("emulated").operations();
// The CUDA backend, which may not be built here, has what is emulated and what the CPU lacks.
for (const others of [[], Object.keys(expansions)]) {
  const operations = new Set([...emulated, ...others]);
  const options = { operations, channelMultiple: 4, small: false, tf32: true };
  for (const opCase of opCases(options)) {
    const file = join(folder, dataName(opCase));
    if (sizeOf(opCase) > limit || existsSync(file)) continue;
    const results = await resultsOf(opCase, reference);
    writeFileSync(file, results);
    count++;
    total += results.length;
  }
}
console.log(`${count} cases of ops, ${(total / 1e6).toFixed(1)} MB`);
