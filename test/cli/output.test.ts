// Runs commands whose output cannot be written: training goes on and logs it, other commands fail.
import { existsSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { logOf, temporaryFolder } from "../support/folder.js";
import { compiled, freePort, start, torchrun, until } from "../support/process.js";
import { firstChild, main } from "./command.js";

const folder = temporaryFolder();
const full = openSync("/dev/full", "w");
/** Runs `onehour` with these outputs to its end. */
function onehour(args: string[], stdout: "pipe" | number, stderr: "pipe" | number) {
  const run = start([process.execPath, main, ...args], { stdout, stderr });
  run.child.stdout?.on("data", () => run.child.stdout?.destroy()); // a reader that goes away
  return run.ended;
}

const small = (workers: number, out: string) => [
  ...["train", "synthetic:8x8x1:4:64", "--workers", String(workers), "--batch", "4"],
  ...["--threads", "1", "--steps", "5", "--out", out],
];
const warningsOf = (out: string) =>
  logOf(out).flatMap((line) => (line.type === "warning" ? [line] : []));

test.each<[string, number, "pipe" | number]>([
  ["a full disk", 1, full],
  ["a full disk", 2, full],
  ["a reader that goes away", 1, "pipe"],
  ["a reader that goes away", 2, "pipe"],
])("training goes on with %s as its output, %d workers", async (name, workers, output) => {
  const out = join(folder, `${name} ${workers}`);
  const { status } = await onehour(small(workers, out), output, full);
  expect(status).toBe(0);
  expect(logOf(out).at(-1)).toMatchObject({ type: "end", status: "finished", steps: 5 });
  expect(warningsOf(out)).toEqual([
    {
      type: "warning",
      step: expect.any(Number),
      text: expect.stringMatching(/^standard output cannot be written \((ENOSPC|write EPIPE)/),
    },
  ]);
});

test("the log names a rank other than 0 whose output is lost", async () => {
  const out = join(folder, "rank 1");
  const script = join(folder, "rank.mjs");
  const recipe = { dataset: "synthetic:8x8x1:4:64", batch: 4, threads: 1, steps: 5, out };
  writeFileSync(
    script,
    `import { train } from ${compiled("index")};
const training = train(${JSON.stringify(recipe)});
console.log("hello");
await training;\n`,
  );
  // As a launcher that gives each rank an output of its own.
  const port = await freePort();
  const ranks = [0, 1].map((rank) =>
    start([process.execPath, script], {
      stdout: rank === 1 ? full : "ignore",
      stderr: "inherit",
      env: { ...torchrun(rank, port), ONEHOUR_TOKEN: "between us" },
    }),
  );
  for (const { ended } of ranks) expect(await ended).toMatchObject({ status: 0 });
  expect(warningsOf(out).map(({ text }) => text)).toEqual([
    expect.stringMatching(/^rank 1: standard output cannot be written \(ENOSPC/),
  ]);
});

test("a terminal that is gone ends training with its work saved", async () => {
  const out = join(folder, "terminal");
  const words = [process.execPath, main, ...small(2, out), "--steps", "1000000", "--epochs", "1e5"];
  const command = words.map((word) => `'${word}'`).join(" ");
  const terminal = start(["script", "-qec", `exec ${command}`, "/dev/null"], { stdout: "ignore" });
  await until(() => existsSync(join(out, "checkpoint.safetensors")), 60);
  expect(firstChild(terminal.child.pid!)).toBeGreaterThan(0);
  terminal.child.kill("SIGKILL");
  await until(
    () => /"status":"interrupted"/.test(readFileSync(join(out, "log.jsonl"), "utf8")),
    60,
  );
});

const checkpoint = join(folder, "a full disk 1", "checkpoint.safetensors");

test.each([
  ["evaluate", checkpoint, "synthetic:8x8x1:4:64"],
  ["bench", "ops", "--traffic", "--model", "resnet8"],
  ["train", "synthetic", "--dump-program"],
])("%s %s fails where its result cannot be written", async (...args) => {
  const { status, stderr } = await onehour(args, full, "pipe");
  expect(stderr).toMatch(/^onehour: the result is lost: [^\n]*ENOSPC[^\n]*\n$/);
  expect(status).toBe(1);
});
