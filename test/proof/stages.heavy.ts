// scripts/verify-gpu without a GPU, from the first part to the last, and with a part that takes too long.
import { expect, it } from "vitest";
import { startParts, verify } from "./verify.js";

it("compares every op and the ranks, and writes one results file and a summary", () => {
  const { status, stdout, stderr, files, results } = verify(
    "dry",
    ...["--device", "emulated", "--parts", "build,ops,ranks,patterns,sanitize"],
  );
  expect(status, stdout + stderr).toBe(0);
  expect(files.length).toBe(2);
  for (const file of files) expect(file).toMatch(/^emulated-\d{8}-\d{6}\.(json|txt)$/);
  expect(results).toMatchObject({ ok: true, done: true, ended: "" });
  expect(results.notProven.join()).toMatch(/dry run/);
  expect(results.parts.map(({ part }) => part)).toEqual([
    "build",
    "ops",
    "ranks",
    "patterns",
    "sanitize",
  ]);
  const [build, ops, ranks, patterns, sanitize] = results.parts;
  expect(build!.data.versions).toMatchObject({ oneDNN: expect.stringMatching(/^\d+\.\d+/) });
  expect(patterns!.checks).toBe(8);
  expect(ops!.checks).toBeGreaterThan(300);
  expect(ranks!.notes.join()).toMatch(/synchronised, 2 ranks: (\d+) of \1 findings good, recorded/);
  expect([build!.skipped.length, sanitize!.skipped.length]).toEqual([1, 1]);
});

it("ends a part that runs over its time, names it and goes on", async () => {
  const code = "process.on('SIGTERM', () => {}); setInterval(() => {}, 1000);";
  const { run, results } = startParts("overrun", { code, seconds: 7 });
  expect(await run.ended).toMatchObject({ status: 1 });
  expect(run.stdout).toMatch(/ops was ended after its 7 s\n== ops: CUT OFF[\s\S]*== ranks: ok/);
  expect(results()).toMatchObject({ ok: false, done: true, ended: "" });
  expect(results().parts.map(({ ok }) => ok)).toEqual([undefined, true]);
});
