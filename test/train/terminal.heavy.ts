// Trains on terminals, which util-linux's `script` provides, and reads what a person would see there.
import { join } from "node:path";
import { stripVTControlCharacters } from "node:util";
import { expect, test } from "vitest";
import { width } from "../../lib/terminal/columns.js";
import { onehour, typed } from "../cli/command.js";
import { temporaryFolder } from "../support/folder.js";
import { start } from "../support/process.js";
import { Screen } from "../support/screen.js";

const folder = temporaryFolder();
let runs = 0;

const training = (out = join(folder, `run-${runs++}`)) => [
  ...["train", "synthetic:16x16x3:10:16384", "--model", "resnet8", "--device", "cpu"],
  ...["--threads", "1", "--workers", "2", "--batch", "8", "--epochs", "2"],
  ...["--out", out],
];

/** What a run writes to a terminal of so many columns; `later` are a shell's commands once it has begun. */
async function onTerminal(columns: number, env: Record<string, string> = {}, later = "true") {
  const out = join(folder, `run-${runs++}`);
  const begun = `until grep -qs '"step":300,' ${out}/log.jsonl; do sleep 0.1; done`;
  const command = `stty cols ${columns} rows 40; { ${begun}; ${later}; } & ${typed} ${training(out).join(" ")}`;
  const { NO_COLOR: _, FORCE_COLOR: __, ...plain } = process.env;
  const run = start(["script", "-qec", command, "/dev/null"], {
    env: { ...plain, TERM: "xterm", ...env },
  });
  const { status, stdout, stderr } = await run.ended;
  expect(status, stdout + stderr).toBe(0);
  return stdout;
}

/** The texts that the live line had, without colors. */
const drawn = (output: string) =>
  output
    .split("\x1b[J\r")
    .slice(0, -1)
    .map((text) => stripVTControlCharacters(text).replace(/^.*[\r\n]/s, ""))
    .filter((text) => text !== "");

const ends = [
  /^epoch 1\/2: train loss .*, test accuracy .* \([\d,]+ of [\d,]+\), .* s$/m,
  /^epoch 2\/2: train loss /m,
  /^finished after 2,048 steps, /m,
  /^test accuracy .*%, ([\d,]+) of \1 images counted$/m,
];

test.each([40, 80, 160])("a live line of less than %d columns stays in place", async (columns) => {
  const output = await onTerminal(columns);
  const lines = drawn(output);
  expect(lines.filter((line) => /epoch [12]\/2 · .*loss /.test(line)).length).toBeGreaterThan(2);
  expect(lines.filter((line) => width(line) >= columns)).toEqual([]);
  const screen = new Screen(columns);
  screen.write(output);
  expect(screen.rows.filter((row) => /━|─|epoch \d\/2 ·|evaluating|workers$/.test(row))).toEqual(
    [],
  );
  const unfolded = new Screen(1000);
  unfolded.write(output);
  for (const line of ends) expect(unfolded.rows.join("\n")).toMatch(line);
});

test("it follows a terminal that becomes narrower", async () => {
  const lines = drawn(await onTerminal(100, {}, "stty cols 30 < /dev/tty"));
  const lastWide = lines.findLastIndex((line) => width(line) >= 30);
  expect(width(lines[lastWide]!)).toBeGreaterThan(60);
  // It has followed in the first epoch, and is never wide again.
  const first = lines.slice(lastWide + 1).filter((line) => line.includes("epoch 1/2"));
  expect(first.length).toBeGreaterThan(2);
});

test("NO_COLOR keeps the live line, without escape codes; TERM=dumb has lines alone", async () => {
  const plain = await onTerminal(80, { NO_COLOR: "1" });
  expect(plain).not.toContain("\x1b");
  expect(plain).toMatch(/epoch 1\/2 · .* *\r[^\n]/);
  const dumb = await onTerminal(80, { TERM: "dumb" });
  expect(dumb).not.toContain("\x1b");
  expect(dumb).not.toMatch(/\r[^\n]/);
  for (const line of ends) expect(dumb.replaceAll("\r\n", "\n")).toMatch(line);
});

test("what is no terminal gets whole lines alone", async () => {
  const { status, stdout, stderr } = await onehour(training());
  expect(status, stderr).toBe(0);
  for (const sign of ["\r", "\x1b", "━"]) expect(stdout).not.toContain(sign);
  for (const line of ends) expect(stdout).toMatch(line);
});
