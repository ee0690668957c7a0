// Reads the progress that a native build shows.
import { expect, test } from "vitest";
import { LiveLine } from "../../lib/terminal/live-line.js";
import { type Stage, Stages } from "../../lib/terminal/stages.js";
import { Screen } from "../support/screen.js";

interface Progress {
  take(text: string): void;
}
// The script is not TypeScript.
const script = new URL("../../scripts/progress.mjs", import.meta.url).href;
const { Progress } = (await import(script)) as {
  Progress: new (show: (stage: Stage) => void, now: () => number) => Progress;
};

type Pieces = readonly (readonly [second: number, text: string])[];

/** The rows of a terminal, or the lines elsewhere, when each text arrives at its second. */
function tell(isTTY: boolean, pieces: Pieces): string[] {
  let second = 0;
  const screen = Object.assign(new Screen(80), { isTTY });
  const stages = new Stages(new LiveLine(screen, {}), () => second);
  const progress = new Progress(stages.show, () => second);
  for (const [at, text] of pieces) {
    second = at;
    progress.take(text);
  }
  return screen.rows.map((row) => row.replace(/[━─]+/, "BAR"));
}

const object = (file: string) =>
  `Building CXX object CMakeFiles/onehour_cpu_backend.dir/native/cpu/${file}.cc.o\n`;

test("counts Ninja's files, with the time left once it can be estimated", () => {
  const pieces = [
    [0, "[0/2] Re-checking globbed directories...\n[1/40] Building CXX obj"],
    [1, "ect CMakeFiles/onehour_cpu.dir/a.cc.o\n"],
    [5, `[3/40] ${object("c")}`],
    [20, `[10/40] ${object("d")}warning: [11/40] is no status\n`],
    [60, `[20/40] ${object("ops/e")}`],
    [90, "[39/40] Linking CXX shared module /a/b/cpu.node\n"],
  ] as const;
  expect(tell(false, pieces)).toEqual([
    "building onehour: 10 of 40 files · cpu: d.cc · 1 min 00 s left · 25%",
    "building onehour: 20 of 40 files · cpu: e.cc · 1 min 00 s left · 50%",
    "building onehour: 39 of 40 files · cpu.node · 2 s left · 97%",
  ]);
  expect(tell(true, pieces.slice(0, 5))).toEqual([
    "BAR building onehour: 20 of 40 files · cpu: e.cc · 1 min 00 s left",
  ]);
});

test("shows Make's percentage", () => {
  const written = tell(true, [
    [0, `Consolidate compiler generated dependencies\n[  3%] ${object("a")}`],
    [200, `[ 40%] ${object("b")}[ 42%] Built target core\n`],
  ]);
  expect(written).toEqual(["BAR building onehour: 40% · cpu: b.cc · 5 min 00 s left"]);
});
