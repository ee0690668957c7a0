// Locks run folders, so that each has one writer: waits for the holder, and touches nothing before.
import {
  existsSync,
  fstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { native } from "../../lib/device/native.js";
import type { RecipeInput } from "../../lib/recipe/fields.js";
import { lockName, RunLock } from "../../lib/run-folder/lock.js";
import { holdRunFolder } from "../../lib/run-folder/run-folder.js";
import { logOf, recipeOf, temporaryFolder } from "../support/folder.js";
import { resumed, small, trained } from "../support/training.js";
import { trainingFrom } from "../train/process.js";

const folder = temporaryFolder();
const common: RecipeInput = {
  ...small,
  dataset: "synthetic:12x12x1:4:224",
  batch: 16,
};
const quiet = { seconds: 0, say: () => {} };

function newFolder(name: string): string {
  const run = join(folder, name);
  mkdirSync(run);
  return run;
}

test("a second holder is refused, naming the first, until that releases it", async () => {
  const run = newFolder("held");
  const lock = await RunLock.take(run, quiet);
  const second = RunLock.take(run, quiet);
  await expect(second).rejects.toThrow(
    `${run} is in use: process ${process.pid} on ${hostname()} writes to it (${join(run, lockName)})`,
  );
  await expect(second).rejects.toMatchObject({ code: "ERR_ONEHOUR_RUN_FOLDER" });
  lock?.release();
  expect(readdirSync(run)).toEqual([]);
  (await RunLock.take(run, quiet))?.release();
});

/** As on a network disk, which locks only files that can be written. */
const filesAlone = (descriptor: number) =>
  fstatSync(descriptor).isDirectory() ? "unsupported" : native.tryLockFile(descriptor);

test("a lock on a file that was removed or replaced does not count", async () => {
  const run = newFolder("replaced");
  const file = join(run, lockName);
  const first = await RunLock.take(run, { ...quiet, tryLock: filesAlone });
  let tries = 0;
  // The first holder releases between the second's opening of the file and its locking.
  const second = await RunLock.take(run, {
    ...quiet,
    tryLock: (descriptor) => {
      if (fstatSync(descriptor).isFile() && tries++ === 0) first?.release();
      return filesAlone(descriptor);
    },
  });
  expect(tries).toBe(2);
  expect(existsSync(file)).toBe(true);
  await expect(RunLock.take(run, quiet)).rejects.toThrow(/is in use/);
  second?.release();
});

test.each<[string, (file: string) => void]>([
  ["removed", (file) => rmSync(file)],
  [
    "replaced",
    (file) => {
      writeFileSync(`${file}.new`, "");
      renameSync(`${file}.new`, file);
    },
  ],
])("a folder stays locked when its lock's file is %s", async (what, spoil) => {
  const run = newFolder(`file-${what}`);
  const lock = await RunLock.take(run, quiet);
  spoil(join(run, lockName));
  await expect(RunLock.take(run, quiet)).rejects.toThrow(/is in use: another process writes/);
  const link = join(folder, `link-${what}`);
  symlinkSync(run, link);
  await expect(RunLock.take(link, quiet)).rejects.toThrow(/is in use/);
  lock?.release();
  (await RunLock.take(run, quiet))?.release();
});

test("a link in the lock's place is refused, and what it names left alone", async () => {
  const run = newFolder("link");
  const other = join(folder, "other.txt");
  writeFileSync(other, "precious");
  symlinkSync(other, join(run, lockName));
  await expect(RunLock.take(run, quiet)).rejects.toMatchObject({ code: "ELOOP" });
  expect(readFileSync(other, "utf8")).toBe("precious");
  rmSync(join(run, lockName));
  (await RunLock.take(run, quiet))?.release();
});

test("does not warn of a file system that locks only files", async () => {
  const run = newFolder("files-alone");
  const say = (text: string) => expect.fail(text);
  const options = { seconds: 0, say, tryLock: filesAlone };
  const lock = await RunLock.take(run, options);
  await expect(RunLock.take(run, options)).rejects.toThrow(`in use: process ${process.pid} on`);
  lock?.release();
});

test("a waiting run names the one that it waits for, and goes on when that has ended", async () => {
  const run = newFolder("waited");
  const lock = await RunLock.take(run, quiet);
  const said: string[] = [];
  const say = (text: string) => {
    said.push(text);
    lock?.release();
  };
  const second = await RunLock.take(run, { seconds: 600, say });
  expect(said).toEqual([
    `waiting up to 600 s for ${run}, to which process ${process.pid} on ${hostname()} writes`,
  ]);
  second?.release();
});

test("a signal ends the wait", async () => {
  const run = newFolder("stopped");
  const lock = await RunLock.take(run, quiet);
  let asked = 0;
  const stopped = () => ++asked > 1;
  const second = await RunLock.take(run, { seconds: 600, say: () => {}, stopped });
  expect(second).toBeUndefined();
  lock?.release();
});

test("warns of a file system without locks, and uses it", async () => {
  const run = newFolder("without");
  const said: string[] = [];
  const options = { ...quiet, say: (text: string) => said.push(text) };
  const both = await Promise.all(
    [1, 2].map(() => RunLock.take(run, { ...options, tryLock: () => "unsupported" })),
  );
  expect(said).toHaveLength(2);
  expect(said[0]).toMatch(/warning: the file system of .*without has no locks; nothing keeps/);
  for (const lock of both) lock?.release();
});

test.each(["", "{", "null", '{"pid":"x","host":5}', '{"pid":1}'])(
  "a holder whose name cannot be read is another process: %s",
  async (text) => {
    const run = newFolder(`unnamed-${text.length}`);
    const lock = await RunLock.take(run, quiet);
    writeFileSync(join(run, lockName), text);
    await expect(RunLock.take(run, quiet)).rejects.toThrow(/is in use: another process writes/);
    lock?.release();
  },
);

test("removes half-written files of a crash under the lock", async () => {
  const run = newFolder("crashed");
  const names = [
    ...["checkpoint.safetensors", "checkpoint.previous.safetensors", "best.safetensors"],
    ...["log.jsonl", "log.unreadable.txt", "recipe.json", "trace.json"],
  ];
  for (const name of names) writeFileSync(join(run, `${name}.tmp`), "half");
  (await holdRunFolder(run, false, quiet))?.release();
  expect(readdirSync(run)).toEqual([]);
});

test("a run that goes on elsewhere is left alone, until it is killed", async () => {
  const out = join(folder, "busy");
  const endless = { ...common, epochs: 100_000, milestones: [], out };
  const { child, ended } = await trainingFrom(endless, 0);
  child.kill("SIGSTOP"); // a process that is stopped has not ended
  try {
    const recipe = readFileSync(join(out, "recipe.json"), "utf8");
    const inode = () => statSync(join(out, "log.jsonl")).ino; // a rewound log is another file
    const before = inode();
    await expect(resumed(out, { timeout: 0.5 })).rejects.toThrow(
      `${out} is in use: process ${child.pid} on ${hostname()} writes to it`,
    );
    await expect(trained({ ...common, out })).rejects.toThrow(/busy holds a run already/);
    // A first start that came this far at the same time: before there was anything but the lock.
    await expect(holdRunFolder(out, false, quiet)).rejects.toThrow(`process ${child.pid} on`);
    expect(readFileSync(join(out, "recipe.json"), "utf8")).toBe(recipe);
    expect(inode()).toBe(before);
  } finally {
    child.kill("SIGKILL");
    await ended;
  }
  expect(existsSync(join(out, lockName))).toBe(true); // its file, not its lock
  rmSync(join(out, "checkpoint.safetensors"), { force: true });
  rmSync(join(out, "checkpoint.previous.safetensors"), { force: true });
  expect((await resumed(out, { steps: 2 })).result.steps).toBe(2);
  expect(readdirSync(out)).not.toContain(lockName);
  expect(logOf(out).at(-1)).toMatchObject({ type: "end", status: "finished", steps: 2 });
});

test("of several first starts in one folder at once, one trains and the others touch nothing", async () => {
  const out = join(folder, "first");
  const ends = await Promise.allSettled(
    [1, 2, 3, 4].map((seed) => trained({ ...common, seed, steps: 3, out })),
  );
  expect(ends.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
  const { seed } = recipeOf(out);
  expect(ends[seed - 1]?.status).toBe("fulfilled");
  expect(logOf(out).map(({ type }) => type)).toEqual(["step", "step", "step", "epoch", "end"]);
});

test("two resumptions at once: one waits for the other's end, and finds nothing left to do", async () => {
  const out = join(folder, "twice");
  await trained({ ...common, steps: 2, out });
  const ends = await Promise.all([1, 2].map(() => resumed(out, { steps: 8, timeout: 600 })));
  for (const { result } of ends) expect(result.steps).toBe(8);
  expect(ends.map(({ text }) => text).join()).toMatch(/nothing is left to do: 8 steps are done/);
  const steps = logOf(out).filter(({ type }) => type === "step");
  expect(steps).toHaveLength(8);
});
