// The command of `npm run test:faults`: `-- --seed 17` runs one seed, `--seeds 10000` that many,
// starting with `--from`.
import { parseArgs } from "node:util";
import { plural } from "../../lib/text/words.js";
import { describeFailure, runSeeds } from "./watch.js";

const { values } = parseArgs({
  options: {
    seed: { type: "string" },
    seeds: { type: "string", default: "1500" },
    from: { type: "string", default: "1" },
    enough: { type: "string", default: "10" },
  },
});
const first = Number(values.seed ?? values.from);
const last = values.seed === undefined ? first + Number(values.seeds) - 1 : first;
if (!(Number.isSafeInteger(first) && Number.isSafeInteger(last) && first >= 0 && last >= first)) {
  console.error("expected --seed N, or --seeds COUNT and --from N, in whole numbers");
  process.exit(2);
}
console.log(`seeds ${first} to ${last}`);
const start = performance.now();
let done = 0;
const failures = await runSeeds({
  first,
  last,
  enough: Number(values.enough),
  onSeed: () => {
    if (++done % 100 === 0) console.log(`${done} seeds`);
  },
});
for (const failure of failures) console.error(`\n${describeFailure(failure)}`);
const seconds = ((performance.now() - start) / 1000).toFixed(0);
console.log(
  `${failures.length === 0 ? "all seeds hold" : `${plural(failures.length, "seed")} failed`}, ${seconds} s`,
);
process.exitCode = failures.length === 0 ? 0 : 1;
