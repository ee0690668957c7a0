// What the doctor leaves behind where a signal ends it, or one of its processes does not end: nothing.
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { Diagnosis } from "../../lib/doctor/check.js";
import { main, typed } from "../cli/command.js";
import { temporaryFolder } from "../support/folder.js";
import { childrenOf, isAlive, start, until } from "../support/process.js";
import { Screen } from "../support/screen.js";

const folder = temporaryFolder();
let places = 0;

/** An empty folder to work in, and one for temporary files. */
function newPlace() {
  const [own, temporary] = ["own", "tmp"].map((name) => join(folder, `${places}`, name));
  for (const path of [own!, temporary!]) mkdirSync(path, { recursive: true });
  places++;
  return { own: own!, temporary: temporary! };
}

const commandOf = (pid: number) => {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
  } catch {
    return "";
  }
};

function treeOf(pid: number): number[] {
  try {
    return childrenOf(pid).flatMap((child) => [child, ...treeOf(child)]);
  } catch {
    return []; // it has ended
  }
}

const shared = () => readdirSync("/dev/shm").filter((name) => /onehour|gloo|nccl/.test(name));

/** The doctor at work, and what it must not leave. */
function startDoctor(words: readonly string[]) {
  const { own, temporary } = newPlace();
  const [before, seen] = [new Set(shared()), new Set<number>()];
  const run = start([process.execPath, main, ...words], { cwd: own, env: { TMPDIR: temporary } });
  const look = () => treeOf(run.child.pid!).map((pid) => seen.add(pid) && pid);
  const watch = setInterval(look, 10);
  return {
    run,
    temporary,
    /** The process it has started whose command line holds `words`. */
    find: (words: string) => look().find((pid) => commandOf(pid).includes(words)),
    async ended() {
      const ended = await run.ended.finally(() => clearInterval(watch));
      expect([...seen].filter(isAlive).map(commandOf)).toEqual([]);
      expect(readdirSync(own)).toEqual([]);
      expect(readdirSync(temporary)).toEqual([]);
      expect(shared().filter((name) => !before.has(name))).toEqual([]);
      return ended;
    },
  };
}

const statuses = { SIGINT: 130, SIGTERM: 143 } as const;
const launched = ["launch", "--workers", "2", "--doctor"];

test.each([
  ["SIGINT", ["doctor"], "probe.js module cpu"],
  ["SIGTERM", ["doctor"], "probe.js folder"],
  ["SIGINT", ["doctor"], "probe.js locks"],
  ["SIGTERM", ["doctor", "--json"], "probe.js allReduce"],
  ["SIGINT", ["doctor"], "two-ranks.js rank"],
  ["SIGTERM", ["doctor"], "probe.js decoding"],
  ["SIGINT", ["doctor"], "probe.js products"],
  ["SIGTERM", launched, "rank.js"],
  ["SIGINT", launched, "probe.js module data"],
  ["SIGTERM", launched, "probe.js folder"],
] as const)("%s to `onehour %s` in %s", async (signal, words, moment) => {
  const { run, find, ended } = startDoctor(words);
  await until(() => find(moment) !== undefined, 60);
  run.child.kill(signal);
  const { status, stderr } = await ended();
  expect(stderr).toBe("");
  expect(status).toBe(statuses[signal]);
});

test("a second signal changes nothing of that", async () => {
  const { run, find, ended } = startDoctor(["doctor"]);
  await until(() => find("two-ranks.js rank") !== undefined, 60);
  run.child.kill("SIGINT");
  run.child.kill("SIGTERM");
  expect([130, 143]).toContain((await ended()).status);
});

/** Stops a process of the doctor, which then hears no signal either: the check `name` says that it did not end. */
async function stop(
  moment: string,
  name: string,
  isThere: (temporary: string) => boolean = () => true,
): Promise<void> {
  const { find, temporary, ended } = startDoctor(["doctor", "--json"]);
  await until(() => find(moment) !== undefined && isThere(temporary), 60);
  process.kill(find(moment)!, "SIGSTOP");
  const { stdout, stderr } = await ended();
  const { checks } = JSON.parse(stdout) as Diagnosis;
  expect(checks.find((line) => line.name === name)?.found, stderr).toMatch(/not end(ed)? within/);
}

test("a process that is killed after its limit leaves nothing", async () => {
  const images = (temporary: string) =>
    readdirSync(temporary, { recursive: true }).some((name) => String(name).endsWith(".JPEG"));
  await Promise.all([
    stop("probe.js folder", "run folder"),
    stop("two-ranks.js rank", "all-reduce"),
    stop("probe.js decoding", "decoding", images),
  ]);
});

test("Ctrl-C on a terminal leaves no line that is being drawn", async () => {
  const { own, temporary } = newPlace();
  const command = `stty cols 80 rows 40; exec ${typed} doctor`;
  const run = start(["script", "-qec", command, "/dev/null"], {
    ...{ cwd: own, env: { TMPDIR: temporary, TERM: "xterm" }, lasting: true },
  });
  await until(() => run.stdout.includes("… decoding"), 60);
  run.child.stdin!.write("\x03");
  const { status, stdout } = await run.ended;
  expect(status).toBe(130);
  const screen = new Screen(80);
  screen.write(stdout);
  expect(screen.rows.filter((row) => row.startsWith("…"))).toEqual([]);
  expect(readdirSync(own)).toEqual([]);
  expect(readdirSync(temporary)).toEqual([]);
});
