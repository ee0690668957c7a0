// Ends ranks as an engine starts them, without a launcher of ours: each names the one at fault, and that one speaks
// last.
import { closeSync, openSync, readFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { temporaryFolder } from "../support/folder.js";
import { freePort, type Run, signalAll, start, until } from "../support/process.js";
import { script } from "./command.js";

const folder = temporaryFolder();
const size = 3;
const name = (rank: number) => `rank ${rank} on ${hostname()}`;
let count = 0;

/** Three ranks as torchrun starts them, whose errors go to one file. */
async function startRanks(command: readonly string[], env: Record<string, string> = {}) {
  const port = await freePort();
  const errors = join(folder, `errors ${count++}`);
  const descriptor = openSync(errors, "a");
  const runs = Array.from({ length: size }, (_, rank) => {
    const place = { RANK: rank, WORLD_SIZE: size, LOCAL_RANK: rank, LOCAL_WORLD_SIZE: size };
    return start([process.execPath, ...command], {
      stderr: descriptor,
      env: {
        ...Object.fromEntries(Object.entries(place).map(([key, value]) => [key, String(value)])),
        ...{ MASTER_ADDR: "127.0.0.1", MASTER_PORT: String(port), ONEHOUR_TOKEN: "ours", ...env },
      },
    });
  });
  closeSync(descriptor);
  return { runs, said: () => readFileSync(errors, "utf8") };
}

/** Ends a stopped rank too. */
const kill = (run: Run | undefined) => run?.child.kill("SIGKILL");

async function statusesOf(runs: readonly Run[]): Promise<(number | string | null)[]> {
  return (await Promise.all(runs.map((run) => run.ended))).map(
    ({ status, signal }) => signal ?? status,
  );
}

const others = (culprit: number) => [0, 1, 2].filter((rank) => rank !== culprit);
const withoutWord = (rank: number, culprit: number) =>
  new RegExp(
    `${name(rank)}: waited for ${name(culprit)}, which ended without a word( \\(.* failed: .*\\))?: it was killed, `,
  );

describe("of a script's ranks", () => {
  test.each([
    ["one that throws", 1, "throw", "TypeError: a user's mistake", 1],
    [
      "rank 0, which holds the rendezvous and throws,",
      0,
      "throw",
      "TypeError: a user's mistake",
      1,
    ],
    ["one that calls process.exit", 1, "exit", "exited with status 7", 7],
    ["one that awaits what never ends", 2, "never", "exited with status 13: a top-level await", 13],
  ])("%s is named by the others and speaks last", async (_, culprit, what, message, status) => {
    const { runs, said } = await startRanks([script("loop"), what, String(culprit)]);
    const statuses = await statusesOf(runs);
    const text = said();
    expect(statuses, text).toEqual([0, 1, 2].map((rank) => (rank === culprit ? status : 1)));
    const named = others(culprit).map((rank) =>
      text.indexOf(`${name(rank)}: ended because ${name(culprit)} failed: ${message}`),
    );
    expect(Math.min(...named), text).toBeGreaterThanOrEqual(0);
    if (what !== "throw") return;
    // Node's own words for an error that nothing has caught.
    const own = /^TypeError: a user's mistake\n {4}at .*loop\.mjs/m.exec(text);
    expect(own?.index, text).toBeGreaterThan(Math.max(...named));
    expect(text).not.toContain(`${name(culprit)}: ended`);
  });

  test.each([0, 1])("rank %d that is killed is named by the others", async (culprit) => {
    const { runs, said } = await startRanks([script("loop"), "endless"]);
    await until(() => runs.every(({ stdout }) => stdout.includes("round 20")));
    kill(runs[culprit]);
    expect(await statusesOf(runs)).toEqual(
      [0, 1, 2].map((rank) => (rank === culprit ? "SIGKILL" : 1)),
    );
    for (const rank of others(culprit)) expect(said()).toMatch(withoutWord(rank, culprit));
  });

  test.each([
    ["is stopped", 1, "stop"],
    ["holds the rendezvous and is stopped", 0, "stop"],
    ["computes without an end", 1, "work"],
    ["waits for something else", 2, "sleep"],
  ])("one that %s is named after the timeout", async (_, culprit, what) => {
    const command = [script("loop"), what, String(culprit)];
    const { runs, said } = await startRanks(command, { ONEHOUR_TIMEOUT: "5" });
    const waiting = others(culprit).map((rank) => runs[rank]!);
    expect(await statusesOf(waiting)).toEqual([1, 1]);
    kill(runs[culprit]);
    for (const rank of others(culprit))
      expect(said()).toMatch(
        `${name(rank)}: ended because ${name(culprit)} made no progress for 5 s while rank`,
      );
  });

  test("all that fail alike say so, and none waits for another", async () => {
    const { runs, said } = await startRanks([script("all-throw")]);
    expect(await statusesOf(runs)).toEqual([1, 1, 1]);
    expect(said().match(/^Error: the same mistake everywhere$/gm)).toHaveLength(3);
    expect(said()).not.toContain("ended because");
  });

  test("one that listens to signals has the time that its own save takes", async () => {
    const { runs, said } = await startRanks([script("saves-alone")]);
    await until(() => runs.every(({ stdout }) => stdout.includes("round 20")));
    // A rank that has heard of another's end is left to name it.
    signalAll(runs.map((run) => [run, "SIGTERM"]));
    expect(await statusesOf(runs), said()).toEqual([143, "SIGTERM", "SIGTERM"]);
    expect(runs[0]!.stdout).toContain("saved");
  });

  test("one that leaves early and succeeds has not failed", async () => {
    const { runs, said } = await startRanks([script("loop"), "none"]);
    expect(await statusesOf(runs)).toEqual([0, 0, 0]);
    expect(said()).toBe("");
  });
});
