// `--requeue`, with a program in the place of Slurm's scontrol that notes what it is asked.
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { expect, test } from "vitest";
import { main, onehour } from "../cli/command.js";
import { logOf, temporaryFolder } from "../support/folder.js";
import { freePort, type Run, start, torchrun } from "../support/process.js";

const folder = temporaryFolder();
const job = { SLURM_JOB_ID: "41" };

/** Variables under which scontrol is a shell script of these lines; it notes each call in `calls`. */
function slurm(name: string, lines = "") {
  const bin = join(folder, name);
  mkdirSync(bin);
  const calls = join(bin, "calls");
  writeFileSync(join(bin, "scontrol"), `#!/bin/sh\necho "$@" >> '${calls}'\n${lines}\n`);
  chmodSync(join(bin, "scontrol"), 0o755);
  return {
    env: { PATH: `${bin}:${process.env.PATH}`, ...job },
    calls: () => (existsSync(calls) ? readFileSync(calls, "utf8").trim().split("\n") : []),
  };
}

const endless = (out: string, ...more: string[]) => [
  ...["train", "synthetic:8x8x1:4:32", "--batch", "4", "--model", "resnet8", "--threads", "1"],
  ...["--epochs", "100000", "--milestones", "none", "--out", out, "--requeue", ...more],
];
const hasStarted = (out: string) => existsSync(join(out, "checkpoint.safetensors"));

/** What scontrol shows of a job that is running, or that somebody has cancelled. */
const shows = (state: string, reason = "None") =>
  `[ "$1" = show ] && echo "JobId=41 JobState=${state} Reason=${reason} Requeue=1"; exit 0`;

test.each([
  ["SIGUSR1", "RUNNING", 1, 138, ["requeue 41"]],
  ["SIGUSR2", "RUNNING", 2, 140, ["requeue 41"]],
  ["SIGTERM", "RUNNING", 1, 143, ["show job --oneliner 41", "requeue 41"]],
  ["SIGTERM", "COMPLETING", 1, 143, ["show job --oneliner 41"]],
  ["SIGINT", "RUNNING", 1, 130, []],
] as const)("after %s of a job that is %s", async (name, state, workers, expected, asked) => {
  const out = join(folder, `${name} ${state}`);
  const { env, calls } = slurm(`${name} ${state} bin`, shows(state));
  const { status, stdout } = await onehour(endless(out, "--workers", String(workers)), {
    env,
    signal: { name, when: () => hasStarted(out) },
  });
  expect(calls()).toEqual(asked);
  expect(status).toBe(expected);
  const isAsked = calls().includes("requeue 41");
  expect(stdout).toMatch(
    isAsked
      ? /^Slurm runs job 41 again \(scontrol requeue 41\)$/m
      : /^job 41 is not queued again, for /m,
  );
  expect(logOf(out).at(-1)).toMatchObject({ type: "end", status: "interrupted" });
});

test("what the time limit ends is run again, and of an array this task alone", async () => {
  const out = join(folder, "array");
  const { env, calls } = slurm("array bin", shows("COMPLETING", "TimeLimit"));
  const { status } = await onehour(endless(out), {
    env: { ...env, SLURM_ARRAY_JOB_ID: "40", SLURM_ARRAY_TASK_ID: "3" },
    signal: { name: "SIGTERM", when: () => hasStarted(out) },
  });
  expect(calls()).toEqual(["show job --oneliner 40_3", "requeue 40_3"]);
  expect(status).toBe(143);
});

test("says why Slurm does not run the job again; the status stays the signal's", async () => {
  const out = join(folder, "refused");
  const { env } = slurm("refused bin", "echo 'Job is not a batch job' >&2; exit 1");
  const { status, stdout } = await onehour(endless(out), {
    env,
    signal: { name: "SIGUSR1", when: () => hasStarted(out) },
  });
  expect(stdout).toMatch(
    /^warning: Slurm does not run job 41 again: scontrol requeue 41 failed \(Job is not a batch job\)\. .*--resume auto/m,
  );
  expect(status).toBe(138);
});

test("Slurm's signals that follow the request change nothing", async () => {
  const out = join(folder, "ended");
  const { env, calls } = slurm("ended bin", "kill -TERM $PPID; sleep 1; exit 0");
  const { status } = await onehour(endless(out), {
    env,
    signal: { name: "SIGUSR1", when: () => hasStarted(out) },
  });
  expect(calls()).toEqual(["requeue 41"]);
  expect(status).toBe(138);
});

test("of the ranks that an engine started one asks, once all is saved", async () => {
  const out = join(folder, "ranks");
  const { env, calls } = slurm("ranks bin", `grep -c '"end"' '${out}/log.jsonl' >> '${out}.ends'`);
  const port = await freePort();
  const runs: Run[] = [0, 1].map((rank) =>
    start([process.execPath, main, ...endless(out)], {
      env: { ...torchrun(rank, port), ...env, ONEHOUR_TOKEN: "ours" },
    }),
  );
  const watch = setInterval(() => {
    if (!hasStarted(out)) return;
    clearInterval(watch);
    runs[1]!.child.kill("SIGUSR1"); // to whichever rank
  }, 20);
  const ends = await Promise.all(runs.map((run) => run.ended));
  clearInterval(watch);
  expect(
    ends.map(({ status }) => status),
    ends[0]!.stderr,
  ).toEqual([138, 138]);
  expect(calls()).toEqual(["requeue 41"]);
  expect(readFileSync(`${out}.ends`, "utf8")).toBe("1\n");
});

/** Whether something listens on a port of this machine. */
const listens = (port: number) =>
  new Promise<boolean>((resolve) => {
    const socket = connect(port, "127.0.0.1", () => resolve(true));
    socket.on("error", () => resolve(false)).on("connect", () => socket.destroy());
  });

test("a signal before the ranks have met has the job run again too", async () => {
  const { env, calls } = slurm("early bin");
  const port = await freePort();
  const run = start([process.execPath, main, ...endless(join(folder, "early"))], {
    env: { ...torchrun(0, port), ...env, ONEHOUR_TOKEN: "ours" },
  });
  // It waits for rank 1 now, as it says 10 s later.
  await expect.poll(() => listens(port), { timeout: 300_000 }).toBe(true);
  run.child.kill("SIGUSR1");
  expect(await run.ended).toMatchObject({ status: 138 });
  expect(calls()).toEqual(["requeue 41"]);
});

test("without a job it is refused at the start", async () => {
  const out = join(folder, "no job");
  const { status, stderr } = await onehour(endless(out));
  expect(stderr).toMatch(
    /^onehour: --requeue: there is no job of Slurm's here to run again \(SLURM_JOB_ID is not set\); leave it out, /,
  );
  expect(status).toBe(2);
  expect(existsSync(out)).toBe(false);
});

test("`launch` asks for a script's processes", async () => {
  const { env, calls } = slurm("launch bin");
  const script = join(folder, "waits.mjs");
  writeFileSync(
    script,
    `process.on("SIGTERM", () => process.exit(143));
setInterval(() => {}, 1000);
console.log("listens");\n`,
  );
  const { status, stderr } = await onehour(["launch", "--workers", "2", "--requeue", script], {
    env,
    signal: { name: "SIGUSR1", when: ({ stdout }) => stdout.split("listens").length === 3 },
  });
  expect(calls()).toEqual(["requeue 41"]);
  expect(stderr).toBe("onehour: Slurm runs job 41 again (scontrol requeue 41)\n");
  expect(status).toBe(138);
});
