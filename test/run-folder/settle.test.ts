// Ranks with folders of their own settle whether a run goes on, and bring its newest copy to rank 0.
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import type { RecipeInput } from "../../lib/recipe/fields.js";
import { readRunId } from "../../lib/recipe/run-recipe.js";
import { lastWholeStep } from "../../lib/run-folder/last-checkpoint.js";
import { RunLock } from "../../lib/run-folder/lock.js";
import { holdRunFolder, type Resume } from "../../lib/run-folder/run-folder.js";
import { settleRun } from "../../lib/run-folder/settle.js";
import type { Stage } from "../../lib/terminal/stages.js";
import { bytesText } from "../../lib/text/words.js";
import { Disk } from "../faults/disk.js";
import { Files, type Kind, withFaults } from "../faults/files.js";
import { stepsOf, temporaryFolder } from "../support/folder.js";
import { together } from "../support/meeting.js";
import { resumed, small, trained } from "../support/training.js";

const folder = temporaryFolder();
const host = hostname();
const common: RecipeInput = { ...small, dataset: "synthetic:12x12x1:4:64", batch: 8, epochs: 2 };
const [older, newer] = [join(folder, "older"), join(folder, "newer")]; // after 9 steps and 12
const names = ["best.safetensors", "checkpoint.previous.safetensors", "checkpoint.safetensors"];
const files = [...names, "log.jsonl", "recipe.json"];

beforeAll(async () => {
  await trained({ ...common, steps: 9, out: older });
  cpSync(older, newer, { recursive: true });
  await resumed(newer, { steps: 12 });
});

/** The folders of the ranks of a test, each a copy of a run or not there. */
function foldersOf(task: { id: string }, ...runs: (string | undefined)[]): string[] {
  return runs.map((run, rank) => {
    const path = join(folder, `${task.id}-${rank}`);
    if (run !== undefined) cpSync(run, path, { recursive: true });
    return path;
  });
}

const contents = (run: string) =>
  files
    .filter((name) => existsSync(join(run, name)))
    .map((name) => [name, readFileSync(join(run, name)).toString("latin1")]);

interface Settled {
  /** What every rank found out. */
  goesOn: boolean;
  said: string[];
}

/** Settles, or throws what rank 0 throws; all ranks must end alike. */
async function settle(
  folders: readonly (string | undefined)[],
  resume: Resume = "auto",
  show: (stage: Stage) => void = () => {},
): Promise<Settled> {
  const said: string[] = [];
  const say = (text: string) => said.push(text);
  const ends = await together(folders.length, (meeting) =>
    settleRun(meeting, folders[meeting.rank], resume, { seconds: 5, say, show }),
  );
  for (const end of ends) expect(end.status).toBe(ends[0]!.status);
  const [first] = ends;
  if (first!.status === "rejected") {
    for (const end of ends) expect((end as PromiseRejectedResult).reason).toEqual(first!.reason);
    throw first!.reason;
  }
  for (const end of ends) expect(end).toEqual(first);
  return { goesOn: first!.value, said };
}

test("where nobody holds a run, one begins unless it must go on", async ({ task }) => {
  const folders = foldersOf(task, undefined, undefined);
  mkdirSync(folders[1]!);
  for (const resume of ["auto", false] as const)
    expect(await settle(folders, resume)).toEqual({ goesOn: false, said: [] });
  expect((await settle([undefined, undefined], false)).goesOn).toBe(false);
  await expect(settle(folders, true)).rejects.toThrow(
    `${folders[0]} on ${host} holds no run to resume (looked for recipe.json)`,
  );
  expect(existsSync(folders[0]!)).toBe(false);
});

test("a folder that all ranks see is left as it is", async ({ task }) => {
  const [shared] = foldersOf(task, newer);
  const figures = () =>
    files.map((name) => {
      const { ino, mtimeMs, ctimeMs } = statSync(join(shared!, name));
      return { ino, mtimeMs, ctimeMs };
    });
  const before = figures();
  for (const resume of ["auto", true] as const)
    expect(await settle([shared, shared, shared], resume)).toEqual({ goesOn: true, said: [] });
  expect(figures()).toEqual(before);
});

describe("the newest copy goes on", () => {
  test.each<[string, (string | undefined)[], boolean]>([
    ["rank 0 has none", [undefined, newer], true],
    ["rank 0 has an older one", [older, undefined, newer], true],
    ["rank 0 has the newest", [newer, older], false],
    ["all have the same", [newer, newer], false],
    ["rank 0 alone has one", [older, undefined], false],
  ])("%s", async (_, runs, isCopied) => {
    const folders = foldersOf(task(), ...runs);
    const others = folders.slice(1).filter((path) => existsSync(path));
    const before = others.map(contents);
    const { goesOn, said } = await settle(folders);
    expect(goesOn).toBe(true);
    expect(others.map(contents)).toEqual(before);
    const newest = runs.includes(newer) ? newer : older;
    expect(contents(folders[0]!)).toEqual(contents(newest));
    const from = folders[runs.indexOf(newer)];
    expect(said).toEqual(
      isCopied
        ? [
            `the run's newest checkpoint, after 12 steps, lies in ${from} on ${host}: copying the run ` +
              `to ${folders[0]} on ${host}`,
          ]
        : [],
    );
    expect(await settle(folders)).toEqual({ goesOn: true, said: [] });
  });
});

test("rank 0 shows the file that comes, and how many bytes have", async ({ task }) => {
  const folders = foldersOf(task, undefined, newer);
  const log = Buffer.alloc(9e6, "\n"); // in two rounds
  writeFileSync(join(folders[1]!, "log.jsonl"), log);
  const stages: Stage[] = [];
  await settle(folders, "auto", (stage) => stages.push(stage));
  expect(readFileSync(join(folders[0]!, "log.jsonl")).equals(log)).toBe(true);
  const all = files.reduce((sum, name) => sum + statSync(join(newer, name)).size, 0);
  const total = all - statSync(join(newer, "log.jsonl")).size + log.length;
  expect(new Set(stages.map(({ text }) => text))).toEqual(new Set(["copying the run"]));
  expect(stages.map(({ share }) => Math.round(share! * total)).slice(0, 3)).toEqual([
    0,
    8 * 2 ** 20,
    9e6,
  ]);
  expect(stages.map(({ share }) => share)).toEqual(
    stages.map(({ share }) => share!).sort((a, b) => a - b),
  );
  expect(stages.at(-1)!.share).toBe(1);
  expect(stages[1]!.details).toEqual([`8.4 MB of ${bytesText(total)}`, "log.jsonl"]);
  expect(new Set(stages.map(({ details }) => details![1]))).toEqual(new Set(files));
});

let count = 0;
/** Distinguishes the folders of the rows of a table. */
const task = () => ({ id: `row-${count++}` });

test("a torn checkpoint is not the newest", async ({ task }) => {
  const folders = foldersOf(task, older, newer);
  truncateSync(join(folders[1]!, "checkpoint.safetensors"), 1000);
  const previous = (await lastWholeStep(folders[1]!))!;
  expect(previous).toBe(9);
  expect((await settle(folders)).said).toEqual([]);
  truncateSync(join(folders[0]!, "checkpoint.safetensors"), 1000);
  expect(await lastWholeStep(folders[0]!)).toBe(8);
  expect((await settle(folders)).said).toEqual([expect.stringContaining("after 9 steps")]);
});

test("a run that has no checkpoint yet goes on too", async ({ task }) => {
  const folders = foldersOf(task, undefined, older);
  for (const name of names) rmSync(join(folders[1]!, name));
  expect((await settle(folders)).goesOn).toBe(true);
  expect(readdirSync(folders[0]!).sort()).toEqual(["log.jsonl", "recipe.json"]);
});

test("two runs are refused, naming both folders and their hosts", async ({ task }) => {
  const other = join(folder, "other");
  await trained({ ...common, steps: 9, out: other });
  const folders = foldersOf(task, undefined, newer, other);
  const before = folders.slice(1).map(contents);
  for (const resume of ["auto", true, false] as const)
    await expect(settle(folders, resume)).rejects.toThrow(
      `${folders[1]} on ${host} and ${folders[2]} on ${host} hold two different runs; move one of them away`,
    );
  expect(folders.slice(1).map(contents)).toEqual(before);
  expect(existsSync(folders[0]!)).toBe(false);
});

test("nothing begins where any rank holds a run, or a part of one", async ({ task }) => {
  const folders = foldersOf(task, undefined, undefined, older);
  await expect(settle(folders, false)).rejects.toThrow(
    `${folders[2]} on ${host} holds a run already (recipe.json); continue it with resume: true`,
  );
  rmSync(join(folders[2]!, "recipe.json"));
  for (const resume of ["auto", false] as const)
    await expect(settle(folders, resume)).rejects.toThrow(
      `${folders[2]} on ${host} holds log.jsonl, but not the recipe.json that a run needs to go on`,
    );
  expect(existsSync(folders[0]!)).toBe(false);
});

test("files of another run are not written over, nor is one whose recipe is damaged", async ({
  task,
}) => {
  const folders = foldersOf(task, older, newer);
  writeFileSync(join(folders[0]!, "recipe.json"), "{}");
  await expect(
    together(2, (meeting) =>
      settleRun(meeting, folders[meeting.rank], "auto", {
        seconds: 5,
        say: () => {},
        show: () => {},
      }),
    ),
  ).resolves.toMatchObject([
    { reason: { message: expect.stringMatching(/^\/.*recipe\.json is not as the run wrote it/) } },
    { reason: { message: expect.stringMatching(/^rank 0 on .*: \/.*recipe\.json is not as the/) } },
  ]);
  rmSync(join(folders[0]!, "recipe.json"));
  const before = contents(folders[0]!);
  await expect(settle(folders)).rejects.toThrow(
    `${folders[0]} on ${host} holds log.jsonl, but not the recipe.json`,
  );
  expect(contents(folders[0]!)).toEqual(before);
});

test("a process that still writes to the newest copy is waited for", async ({ task }) => {
  const folders = foldersOf(task, undefined, newer);
  const lock = (await RunLock.take(folders[1]!, { seconds: 0, say: () => {} }))!;
  const settling = settle(folders);
  await new Promise((resolve) => setTimeout(resolve, 600));
  expect(existsSync(join(folders[0]!, "recipe.json"))).toBe(false);
  rmSync(join(folders[1]!, "checkpoint.safetensors")); // it writes until its end
  cpSync(join(older, "checkpoint.safetensors"), join(folders[1]!, "checkpoint.safetensors"));
  lock.release();
  expect((await settling).goesOn).toBe(true);
  expect(contents(folders[0]!)).toEqual(contents(folders[1]!));
});

test("a shared folder that changed while ranks looked at it is not waited for", async ({
  task,
}) => {
  const [shared] = foldersOf(task, newer);
  const before = contents(shared!);
  const ends = await together(2, (meeting) => {
    const gather: typeof meeting.gather = (key, value) => {
      const isEarly = key === "settle" && meeting.rank === 0;
      return meeting.gather(
        key,
        isEarly ? JSON.stringify({ ...JSON.parse(value), step: 9 }) : value,
      );
    };
    return settleRun({ ...meeting, gather }, shared, "auto", {
      seconds: 5,
      say: () => {},
      show: () => {},
    });
  });
  expect(ends).toMatchObject([{ value: true }, { value: true }]);
  expect(contents(shared!)).toEqual(before);
});

test("a copy that cannot be read is named, and rank 0 holds no run", async ({ task }) => {
  const folders = foldersOf(task, undefined, newer);
  const [after, effect] = [2, "error"] as const; // recipe.json and the checkpoint were looked at
  const fault = { kind: "read", after, times: 1000, effect, code: "EIO", share: 0 } as const;
  const files = new Files(folders[1]!, new Disk(folders[1]!), [fault]);
  const [first, second] = await withFaults(files, () =>
    together(2, (meeting) =>
      settleRun(meeting, folders[meeting.rank], "auto", {
        seconds: 5,
        say: () => {},
        show: () => {},
      }),
    ),
  );
  expect(second).toMatchObject({
    reason: { message: expect.stringMatching(`^cannot read the run in ${folders[1]} \\(EIO`) },
  });
  expect(first).toMatchObject({ reason: { message: expect.stringMatching(/rank 1/) } });
  await expect(settle([folders[0]], true)).rejects.toThrow(/holds no run to resume/);
  expect((await settle(folders)).goesOn).toBe(true);
});

describe("a crash while the run is copied leaves what was there or all of it, and the next start heals it", () => {
  /** Copies with a crash at one of rank 0's operations; whether it came. */
  async function crash(folders: string[], kind: Kind, after: number): Promise<boolean> {
    const disk = new Disk(folders[0]!);
    if (existsSync(folders[0]!)) disk.adopt();
    const fault = { kind, after, times: 1, effect: "crash", code: "EIO", share: 0.4 } as const;
    const files = new Files(folders[0]!, disk, [fault]);
    await withFaults(files, () => settle(folders).catch(() => {}));
    return files.met.size > 0;
  }

  test.each<[Kind, string | undefined]>([
    ["write", undefined],
    ["write", older],
    ["rename", undefined],
    ["rename", older],
    ["make", undefined],
  ])("at each %s, rank 0 with %s", async (kind, before) => {
    for (let after = 0; ; after++) {
      const folders = foldersOf(task(), before, newer);
      if (!(await crash(folders, kind, after))) break;
      const [own] = folders;
      if (existsSync(join(own!, "recipe.json"))) {
        // A run: the older one, with no more lost than a later log, or the newer one.
        expect(await readRunId(own!)).toBe(await readRunId(newer));
        const step = (await lastWholeStep(own!))!;
        expect([9, 12]).toContain(step);
        if (before === undefined) expect(step).toBe(12);
        expect(stepsOf(own!).length).toBeGreaterThanOrEqual(step);
      } else {
        expect(before).toBeUndefined();
        await expect(settle([own], true)).rejects.toThrow(/holds no run to resume/);
      }
      expect((await settle(folders)).goesOn).toBe(true);
      expect(contents(own!)).toEqual(contents(newer));
      (await holdRunFolder(own!, true, { seconds: 0, say: () => {} }))?.release();
      // What is not copied stays.
      const kept = before === undefined ? [] : ["environment.json", "report.html"];
      expect(readdirSync(own!).sort()).toEqual([...files, ...kept].sort());
    }
  });
});
