// Resumes damaged run folders: broken logs and checkpoints, and files without permission to read.
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { hasCheckpoint, saveCheckpoint } from "../../lib/run-folder/last-checkpoint.js";
import { holdRunFolder } from "../../lib/run-folder/run-folder.js";
import { logOf, temporaryFolder } from "../support/folder.js";
import { attempted, small, trained } from "../support/training.js";

const folder = temporaryFolder();
const checkpoint = "checkpoint.safetensors";
const previous = "checkpoint.previous.safetensors";
const unreadable = "log.unreadable.txt";
const half = join(folder, "half");

const resume = (out: string, steps = 6, workers?: number) =>
  attempted({ out, steps, ...(workers ? { workers } : {}) }, { resume: true });

beforeAll(async () => {
  const dataset = "synthetic:12x12x1:4:224";
  await trained({ ...small, dataset, batch: 16, steps: 4, out: half });
  expect(existsSync(join(half, previous))).toBe(false);
});

function copyOfHalf(name: string): string {
  const out = join(folder, name);
  cpSync(half, out, { recursive: true });
  return out;
}

const steps = (out: string) =>
  logOf(out).flatMap((line) => (line.type === "step" ? [line.step] : []));

test("unreadable log lines are set aside as they are, and reported", async () => {
  const out = copyOfHalf("log");
  const log = join(out, "log.jsonl");
  const [first, ...others] = readFileSync(log, "utf8").trimEnd().split("\n");
  const torn = others[0]!.slice(0, 30);
  const bad = [
    "null",
    "5",
    '"text"',
    "[]",
    "true",
    "{}",
    '{"type":"step"}',
    '{"type":"step","step":-1,"epoch":0,"loss":1,"lr":1,"momentumFactor":1,"imagesPerSecond":1}',
    '{"type":"step","step":"0","epoch":0,"loss":1,"lr":1,"momentumFactor":1,"imagesPerSecond":1}',
    '{"type":"epoch","epoch":0,"trainLoss":1,"top1":"all","top5":1}',
    '{"type":"other"}',
    '{"type":["step"]}',
    '{"__proto__":{"type":"step","step":0}}',
    torn,
  ];
  const bytes = Buffer.from([0xff, 0xfe, 0x00, 0x7b]);
  const text = [first, "", ...bad, ...others, ""].join("\n");
  writeFileSync(log, Buffer.concat([Buffer.from(text), bytes])); // cut within a line
  const { result, text: said } = await resume(out);
  expect(result).toMatchObject({ status: "finished", steps: 6 });
  expect(said).toMatch(/warning: 15 lines of log\.jsonl cannot be read; kept in .*unreadable\.txt/);
  const expected = Buffer.concat([Buffer.from(`${bad.join("\n")}\n`), bytes, Buffer.from("\n")]);
  expect(readFileSync(join(out, unreadable))).toEqual(expected);
  expect(steps(out)).toEqual([0, 1, 2, 3, 4, 5]);

  // Later ones are appended; a log without any prints nothing.
  writeFileSync(log, `${readFileSync(log, "utf8").trimEnd()}\n{"ty\n`);
  const again = await resume(out, 7);
  expect(again.text).toMatch(/warning: 1 line of log\.jsonl cannot be read/);
  expect(readFileSync(join(out, unreadable))).toEqual(
    Buffer.concat([expected, Buffer.from('{"ty\n')]),
  );
  expect((await resume(out, 8)).text).not.toMatch(/warning/);
});

test("a cut checkpoint without a previous one is reported as such", async () => {
  const out = copyOfHalf("cut");
  truncateSync(join(out, checkpoint), 5000);
  const { error, text } = await resume(out);
  expect(error?.message).toMatch(
    /^the only checkpoint of .*cut cannot be read: .*checkpoint\.safetensors: .* Put a whole copy .*--recipe/,
  );
  expect(text).not.toMatch(/continue with|is kept/);
  expect(readFileSync(join(out, checkpoint)).length).toBe(5000);
});

test("two workers report it too, and do not claim that anything is kept", async () => {
  const out = join(folder, "cut2");
  const dataset = "synthetic:12x12x1:4:224";
  await trained({ ...small, dataset, workers: 2, batch: 8, steps: 1, out });
  truncateSync(join(out, checkpoint), 5000);
  const { error, text } = await resume(out, 6, 2);
  expect(error?.message).toMatch(/rank 0: the only checkpoint of .*cut2 cannot be read/);
  expect(text).not.toMatch(/continue with|is kept/);
});

test("the only checkpoint may be the previous one", async () => {
  const out = copyOfHalf("before");
  writeFileSync(join(out, previous), "no checkpoint");
  rmSync(join(out, checkpoint));
  const { error } = await resume(out);
  expect(error?.message).toMatch(/^the only checkpoint of .*checkpoint\.previous/);
});

/** Runs as a user who may not read everything, where the tests run as root. */
async function unprivileged<T>(body: () => Promise<T>): Promise<T> {
  if (process.geteuid?.() !== 0) return await body();
  process.seteuid?.(65_534);
  try {
    return await body();
  } finally {
    process.seteuid?.(0);
  }
}

test("a run folder without permission to read is reported as such", async () => {
  chmodSync(folder, 0o755);
  const out = copyOfHalf("forbidden");
  chmodSync(out, 0o000);
  const { error } = await unprivileged(() => resume(out));
  expect(error?.message).toMatch(
    /^cannot read the run folder .*forbidden \(EACCES: permission denied.*readable for this user/,
  );
  const begun = await unprivileged(() => attempted({ dataset: "synthetic", out }));
  expect(begun.error?.message).toMatch(/^cannot read the run folder .*forbidden \(EACCES/);
  chmodSync(out, 0o755);

  const loop = join(folder, "loop");
  symlinkSync(loop, loop);
  expect((await resume(loop)).error?.message).toMatch(/^cannot read .*loop \(ELOOP/);
  const nothing = join(folder, "nothing");
  mkdirSync(nothing);
  expect((await resume(nothing)).error?.message).toMatch(/holds no run to resume/);
});

test("a folder whose files cannot be examined counts as one with checkpoints", async () => {
  const out = copyOfHalf("closed");
  chmodSync(out, 0o600); // its names may be listed, and nothing more
  await unprivileged(async () => {
    expect(() => hasCheckpoint(out)).toThrow(/^cannot read the run folder .*closed \(EACCES/);
    await expect(saveCheckpoint(out, [])).rejects.toThrow(/EACCES/);
    await expect(
      holdRunFolder(join(out, "inner"), false, { seconds: 0, say: () => {} }),
    ).rejects.toThrow(/^cannot write to the run folder .*closed\/inner \(EACCES/);
  });
  chmodSync(out, 0o755);
});

test("files without permission to read are not reported as damaged", async () => {
  const out = copyOfHalf("private");
  chmodSync(out, 0o777);
  const forbid = async (name: string, message: RegExp) => {
    chmodSync(join(out, name), 0o000);
    const { error } = await unprivileged(() => resume(out));
    expect(error?.message).toMatch(message);
    chmodSync(join(out, name), 0o644);
  };
  writeFileSync(join(out, previous), readFileSync(join(out, checkpoint)));
  await forbid("recipe.json", /^cannot read .*recipe\.json \(EACCES.*; make it readable/);
  await forbid(checkpoint, /^cannot read .*checkpoint\.safetensors \(EACCES.*; make it readable/);
  await forbid("log.jsonl", /^cannot read .*log\.jsonl \(EACCES/);
});
