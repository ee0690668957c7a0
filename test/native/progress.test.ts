// Reads the progress that a native build shows.
import { expect, test } from "vitest";

interface Progress {
  take(text: string): void;
  end(): void;
}
// The script is not TypeScript.
const script = new URL("../../scripts/progress.mjs", import.meta.url).href;
const { Progress } = (await import(script)) as {
  Progress: new (title: string, stream: object, now: () => number) => Progress;
};

/** The output when each text arrives at its second. */
function tell(
  isTTY: boolean,
  pieces: readonly (readonly [second: number, text: string])[],
): string {
  let [second, written] = [0, ""];
  const stream = { isTTY, write: (text: string) => (written += text) };
  const progress = new Progress("building cpu", stream, () => second);
  for (const [at, text] of pieces) {
    second = at;
    progress.take(text);
  }
  progress.end();
  return written;
}

test("counts Ninja's files, with the time left once it can be estimated", () => {
  const written = tell(false, [
    [0, "[0/2] Re-checking globbed directories...\n[1/40] Building CXX obj"],
    [1, "ect a.o\n"],
    [5, "[3/40] Building CXX object c.o\n"],
    [20, "[10/40] Building CXX object d.o\nwarning: [11/40] is no status\n"],
    [60, "[20/40] Building CXX object e.o\n"],
    [90, "[40/40] Linking CXX shared module cpu.node\n"],
  ]);
  expect(written.split("\n")).toEqual([
    "building cpu: 1 of 40",
    "building cpu: 10 of 40, about 1 min left",
    "building cpu: 20 of 40, about 1 min left",
    "building cpu: 40 of 40",
    "",
  ]);
});

test("shows Make's percentage", () => {
  const written = tell(false, [
    [0, "Consolidate compiler generated dependencies\n[  3%] Building CXX object a.o\n"],
    [200, "[ 40%] Building CXX object b.o\n[ 42%] Built target core\n"],
  ]);
  expect(written).toBe("building cpu: 3 of 100 %\nbuilding cpu: 40 of 100 %, about 5 min left\n");
});

test("redraws one line on a terminal, and clears it at the end", () => {
  const written = tell(true, [
    [0, "[1/2] Building CXX object a.o\n"],
    [1, "[2/2] Linking CXX shared module cpu.node\n"],
  ]);
  expect(written.split("\r\x1b[K")).toEqual([
    "",
    "building cpu: 1 of 2",
    "building cpu: 2 of 2",
    "",
  ]);
});
