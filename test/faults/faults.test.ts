// Runs some seeds of injected faults, and checks that the harness finds bugs that are put
// back.
import { expect, test } from "vitest";
import type { Bug } from "./bugs.js";
import { describeFailure, runSeeds } from "./watch.js";

/** The first of those that `npm run test:faults` runs, so that `npm test` ends within its time. */
const seeds = 60;
/** Among so many each bug shows. */
const seedsForBugs = 240;
const minutes = 60_000;

test(
  `${seeds} seeds: the unbroken run's losses, or a refusal that says why`,
  async () => {
    const failures = await runSeeds({ first: 1, last: seeds });
    expect(failures.map(describeFailure).join("\n\n")).toBe("");
  },
  20 * minutes,
);

test.each<{ bug: Bug; found: RegExp }>([
  { bug: "no sync", found: /the checkpoint of step \d+ is lost|the log lacks/ },
  { bug: "no checksum", found: /differ at the end|unbroken/ },
])(
  "a bug that is put back is found: $bug",
  async ({ bug, found }) => {
    const [failure] = await runSeeds({ first: 1, last: seedsForBugs, bug, enough: 1 });
    expect(failure?.text).toMatch(found);
  },
  20 * minutes,
);
