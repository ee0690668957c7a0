// The process that runs seeds, one after another until one fails: `runner.ts FIRST LAST`. It says which
// one it is at, so that whoever watches it knows which one hangs.
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Bug, putBack } from "./bugs.js";
import { filesSeed, runUnbroken } from "./files-seed.js";

const bug = process.env.ONEHOUR_FAULTS_BUG as Bug | undefined;
if (bug !== undefined) putBack(bug);
const [first = 0, last = 0] = process.argv.slice(2).map(Number);
const folder = mkdtempSync(join(tmpdir(), "onehour-faults-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
const unbroken = await runUnbroken(folder);

for (let seed = first; seed <= last; seed++) {
  console.log(`seed ${seed}`);
  let plan: unknown;
  const out = join(folder, `seed-${seed}`);
  mkdirSync(out);
  try {
    await filesSeed(seed, out, unbroken, (drawn) => {
      plan = drawn;
    });
  } catch (error) {
    console.log(`${(error as Error).stack}\nplan: ${JSON.stringify(plan)}`);
    process.exit(1);
  }
  rmSync(out, { recursive: true });
}
