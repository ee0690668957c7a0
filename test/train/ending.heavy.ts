// Ends ranks of a run that an engine started: by a failure, a kill, a hang and signals, in each phase. Each rank names
// the one at fault, which speaks last, and a signal's status is that of all.
import { closeSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { main } from "../cli/command.js";
import { logOf, temporaryFolder } from "../support/folder.js";
import {
  compiled,
  freePort,
  lastLine,
  type Run,
  signalAll,
  start,
  torchrun,
  until,
} from "../support/process.js";

const folder = temporaryFolder();
const name = (rank: number) => `rank ${rank} on ${hostname()}`;
const data = join(folder, "data.mjs");

// What happens in a phase ("open", "read" or "test"), to rank 1; in "close" it takes a second.
writeFileSync(
  data,
  `const [phase, what] = (process.env.MISFORTUNE ?? "").split(" ");
const misfortunes = {
  throw: () => { throw new Error("made of cheese"); },
  endless: () => new Promise(() => setInterval(() => {}, 1000)),
};
const happen = async (here) => {
  if (here !== phase || process.env.RANK !== "1") return;
  console.log("now");
  await misfortunes[what]();
};
let reads = 0;
const split = (length, here, when) => ({
  length,
  async fill({ labels }) {
    if (++reads > when) await happen(here);
    labels.fill(1);
  },
});
export default async () => {
  await happen("open");
  return {
    name: "made", images: { height: 8, width: 8, channels: 1 }, classes: 3, mean: [0.5], std: [0.25],
    augmentation: { padding: 0, flip: false },
    train: split(32, "read", 20), test: split(4, "test", 1),
    defaultEpochs: 1, fingerprint: "made-1",
    [Symbol.dispose]() {
      if (phase !== "close" || process.env.RANK !== "1") return;
      console.log("now");
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1000);
    },
  };
};
`,
);

interface Ranks {
  runs: Run[];
  out: string;
  /** What both have said on standard error, in order. */
  said: () => string;
}

let count = 0;

/** Two ranks that train without an end, as torchrun starts them; their errors go to one file. */
async function startRanks(misfortune = "", ...more: string[]): Promise<Ranks> {
  const out = join(folder, `run ${count++}`);
  const port = await freePort();
  const errors = openSync(`${out}.errors`, "a");
  const args = [
    ...["train", data, "--model", "resnet8", "--batch", "4", "--threads", "1", "--out", out],
    ...["--epochs", "100000", "--milestones", "none", ...more],
  ];
  const runs = [0, 1].map((rank) =>
    start([process.execPath, main, ...args], {
      stderr: errors,
      env: { ...torchrun(rank, port), ONEHOUR_TOKEN: "ours", MISFORTUNE: misfortune },
    }),
  );
  closeSync(errors);
  return { runs, out, said: () => readFileSync(`${out}.errors`, "utf8") };
}

const trains = (runs: Run[]) => until(() => runs[0]!.stdout.includes("epoch 2/"));
const happens = (runs: Run[]) => until(() => runs[1]!.stdout.includes("now"));
const endsOf = async (runs: Run[]) =>
  (await Promise.all(runs.map((run) => run.ended))).map(({ status, signal }) => signal ?? status);
const linesOf = (said: string) => said.trimEnd().split("\n");

test("the rank that cannot read its data says so last; the other names it, and so does the log", async () => {
  const { runs, out, said } = await startRanks("read throw");
  expect(await endsOf(runs), said()).toEqual([1, 1]);
  const [first, last] = linesOf(said()).filter((line) => line.startsWith("onehour: "));
  expect(last).toMatch(new RegExp(`^onehour: ${name(1)}: .*made of cheese`));
  const reason = last!.slice(`onehour: ${name(1)}: `.length);
  expect(first).toBe(`onehour: ${name(0)}: ended because ${name(1)} failed: ${reason}`);
  expect(logOf(out).at(-1)).toMatchObject({
    type: "end",
    status: "failed",
    reason: first!.slice("onehour: ".length),
  });
});

describe("a rank that is killed is named", () => {
  test.each([
    ["rank 1", 1, false],
    ["rank 0, which holds the rendezvous", 0, false],
    ["rank 1, while the engine ends the others", 1, true],
  ])("%s", async (_, culprit, isSignalled) => {
    const { runs, said } = await startRanks();
    await trains(runs);
    const other = runs[1 - culprit]!;
    if (isSignalled)
      signalAll([
        [other, "SIGTERM"],
        [runs[culprit]!, "SIGKILL"],
      ]);
    else runs[culprit]!.child.kill("SIGKILL");
    expect((await other.ended).status).toBe(1);
    expect(lastLine(said())).toMatch(
      `onehour: ${name(1 - culprit)}: waited for ${name(culprit)}, which ended without a word`,
    );
  });
});

test("a rank that reads without an end is named by both after the timeout", async () => {
  const { runs, said } = await startRanks("read endless", "--timeout", "10");
  expect(await endsOf(runs), said()).toEqual([1, 1]);
  const hang = `${name(1)} made no progress for 10 s while rank 0 waited. The data set has not`;
  expect(said()).toContain(`onehour: ${name(0)}: ended because ${hang}`);
  expect(said()).toContain(`onehour: ${hang}`);
});

test("a stopped rank is named soon after a signal, which it cannot follow", async () => {
  const { runs, said } = await startRanks();
  await trains(runs);
  runs[1]!.child.kill("SIGSTOP");
  runs[0]!.child.kill("SIGTERM");
  expect((await runs[0]!.ended).status).toBe(1);
  runs[1]!.child.kill("SIGKILL");
  expect(lastLine(said())).toMatch(
    `onehour: ${name(0)}: ended because ${name(1)} sent no heartbeat for 12 s after a signal`,
  );
});

describe("signals", () => {
  test.each([
    ["SIGTERM", 143, [1]],
    ["SIGINT", 130, [0, 1]],
    ["SIGUSR1", 138, [0]],
    ["SIGUSR2", 140, [0, 1]],
  ] as const)("%s saves and ends all ranks with status %d", async (signal, status, ranks) => {
    const { runs, out, said } = await startRanks();
    await trains(runs);
    for (const rank of ranks) runs[rank]!.child.kill(signal);
    expect(await endsOf(runs), said()).toEqual([status, status]);
    expect(said()).toBe("");
    expect(logOf(out).at(-1)).toMatchObject({ type: "end", status: "interrupted" });
  });

  test("one that reaches a rank after the save changes nothing", async () => {
    const { runs, said } = await startRanks("close");
    await trains(runs);
    runs[0]!.child.kill("SIGTERM");
    await happens(runs);
    runs[1]!.child.kill("SIGTERM");
    expect(await endsOf(runs), said()).toEqual([143, 143]);
    expect(said()).toBe("");
  });

  test("a script under an engine has its signals back after its training", async () => {
    const script = join(folder, "own.mjs");
    writeFileSync(
      script,
      `import { train } from ${compiled("index")};
const recipe = { dataset: ${JSON.stringify(data)}, model: "resnet8", batch: 4, threads: 1, epochs: 100000,
  milestones: [], out: ${JSON.stringify(join(folder, "own"))} };
const { signal } = await train(recipe, { onEvent: ({ type }) => type === "epoch" && console.log("epoch") });
console.log(signal, process.listenerCount("SIGTERM"));\n`,
    );
    const port = await freePort();
    const runs = [0, 1].map((rank) =>
      start([process.execPath, script], {
        env: { ...torchrun(rank, port), ONEHOUR_TOKEN: "ours" },
      }),
    );
    await until(() => runs[0]!.stdout.includes("epoch"));
    runs[0]!.child.kill("SIGTERM");
    for (const run of runs) {
      expect(await run.ended, run.stderr).toMatchObject({ status: 0 });
      expect(lastLine(run.stdout)).toBe("SIGTERM 0");
    }
  });

  test("SIGHUP is ignored where no terminal is attached", async () => {
    const { runs, said } = await startRanks();
    await trains(runs);
    runs[1]!.child.kill("SIGHUP");
    await until(() => said().includes("SIGHUP is ignored"));
    runs[1]!.child.kill("SIGTERM");
    expect(await endsOf(runs), said()).toEqual([143, 143]);
  });

  test.each([
    ["SIGTERM", "SIGTERM"],
    ["SIGUSR1", 138],
  ] as const)("%s ends a rank at once while the data set opens", async (signal, end) => {
    const { runs, said } = await startRanks("open endless");
    await happens(runs);
    runs[1]!.child.kill(signal);
    expect(await endsOf(runs), said()).toEqual([1, end]);
    expect(lastLine(said())).toMatch(new RegExp(`^onehour: ${name(0)}: .* ${name(1)}`));
  });

  test.each([
    ["SIGTERM", "SIGTERM"],
    ["SIGUSR2", 140],
  ] as const)("%s ends a rank at once while the ranks meet", async (signal, end) => {
    const { runs } = await startRanks();
    runs[1]!.child.kill("SIGKILL");
    await runs[1]!.ended;
    await until(() =>
      readFileSync(`/proc/${runs[0]!.child.pid}/maps`, "utf8").includes("onehour_"),
    );
    runs[0]!.child.kill(signal);
    expect(await endsOf(runs)).toEqual([end, "SIGKILL"]);
  });

  test.each(["read endless", "test endless"])(
    "a second one ends a rank at once: %s",
    async (what) => {
      const { runs, said } = await startRanks(what, "--timeout", "600");
      await happens(runs);
      runs[1]!.child.kill("SIGTERM");
      // The first is told to rank 0, whose agreement waits for rank 1.
      await sleep(1000);
      expect(runs.map(({ child }) => child.exitCode ?? child.signalCode)).toEqual([null, null]);
      runs[1]!.child.kill("SIGTERM");
      expect(await endsOf(runs), said()).toEqual([1, "SIGTERM"]);
      expect(lastLine(said())).toContain(`waited for ${name(1)}, which ended without a word`);
    },
  );
});
