// Computes the CPU's results of the small op cases, for scripts/bundle:
//   node dist/proof/ops/data.js FOLDER
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { defaultThreads } from "#lib/device/cores.js";
import { openBackend } from "#lib/device/open.js";
import { book } from "#lib/ops/book.js";
import { opCases } from "./cases.js";
import { dataName, resultsOf } from "./expected.js";

const folder = process.argv[2]!;
mkdirSync(folder, { recursive: true });
using reference = openBackend("cpu", defaultThreads());
let [count, total] = [0, 0];
// The CUDA backend, which may not be built here, has all of them.
const operations = new Set(book.keys());
// Large ones are computed where the GPU is, in less time than it takes to carry them.
for (const opCase of opCases({ operations, channelMultiple: 4, small: true, tf32: false })) {
  const results = await resultsOf(opCase, reference);
  writeFileSync(join(folder, dataName(opCase)), results);
  count++;
  total += results.length;
}
console.log(`${count} cases of ops, ${(total / 1e6).toFixed(1)} MB`);
