// Runs seeds one after another until one fails: `runner.ts FIRST LAST`. Prints each seed before it
// runs, so that watch.ts knows which one hangs.
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Bug, putBack } from "./bugs.js";
import { filesSeed, runUnbroken } from "./files-seed.js";
import { meetingSeed } from "./meeting-seed.js";
import { processSeed } from "./process-seed.js";

const bug = process.env.ONEHOUR_FAULTS_BUG as Bug | undefined;
if (bug !== undefined) putBack(bug);
const [first = 0, last = 0] = process.argv.slice(2).map(Number);
const folder = mkdtempSync(join(tmpdir(), "onehour-faults-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
process.on("SIGUSR2", () => process.exit(140)); // what watches it has found enough; seeds send others
const unbroken = await runUnbroken(folder);

/** What a seed is of; a bug is put back in this process alone. */
async function run(seed: number, out: string, report: (plan: unknown) => void): Promise<void> {
  if (bug === undefined && seed % 30 === 7) {
    await processSeed(seed, out, unbroken.pair.trace, report);
  } else if (bug === undefined && seed % 8 === 3) await meetingSeed(seed, report);
  else await filesSeed(seed, out, unbroken, report);
}

for (let seed = first; seed <= last; seed++) {
  console.log(`seed ${seed}`);
  let plan: unknown;
  const out = join(folder, `seed-${seed}`);
  mkdirSync(out);
  try {
    await run(seed, out, (drawn) => {
      plan = drawn;
    });
  } catch (error) {
    console.log(`${(error as Error).stack}\nplan: ${JSON.stringify(plan)}`);
    process.exit(1);
  }
  rmSync(out, { recursive: true });
}
