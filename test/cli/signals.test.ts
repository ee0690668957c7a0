// Sends signals to the command and its workers: those of a closed terminal, and those of batch
// systems.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { RunLock } from "../../lib/run-folder/lock.js";
import { logOf, temporaryFolder } from "../support/folder.js";
import { childrenOf, type Run, start, until } from "../support/process.js";
import { firstChild, lastChild, main, onehour } from "./command.js";

const folder = temporaryFolder();
const endless = (workers: number, out: string) => [
  ...["train", "synthetic:8x8x1:4:32", "--workers", String(workers), "--batch", "4"],
  ...["--threads", "1", "--epochs", "100000", "--milestones", "none", "--out", out],
];
const hasStarted = (out: string) => existsSync(join(out, "checkpoint.safetensors"));
test.each([
  ["the only process", 1, (pid: number) => pid],
  ["a launcher", 2, (pid: number) => pid],
  ["a worker", 2, firstChild],
])("without a terminal %s ignores SIGHUP and says so once", async (name, workers, to) => {
  const out = join(folder, `hangup ${name}`);
  const run = start([process.execPath, main, ...endless(workers, out)], { stdout: "ignore" });
  const { pid } = run.child;
  await until(() => hasStarted(out), 60);
  process.kill(to(pid!), "SIGHUP");
  await until(() => run.stderr.includes("\n"), 60);
  process.kill(to(pid!), "SIGHUP");
  run.child.kill("SIGTERM");
  const { status, stderr } = await run.ended;
  expect(stderr).toMatch(/^onehour: SIGHUP is ignored, [^\n]*\n$/);
  expect(status).toBe(143);
  expect(logOf(out).at(-1)).toMatchObject({ type: "end", status: "interrupted" });
});

test.each([1, 2])("%d workers on a terminal save and end with status 129", async (workers) => {
  const out = join(folder, `terminal ${workers}`);
  const words = [process.execPath, main, ...endless(workers, out)];
  // `script` runs the command on a terminal of its own and ends with its status.
  const command = words.map((word) => `'${word}'`).join(" ");
  const terminal = start(["script", "-qec", `exec ${command}`, "/dev/null"], { stdout: "ignore" });
  await until(() => hasStarted(out), 60);
  process.kill(firstChild(terminal.child.pid!), "SIGHUP");
  expect(await terminal.ended).toMatchObject({ status: 129 });
  expect(logOf(out).at(-1)).toMatchObject({ type: "end", status: "interrupted" });
});

test.each([
  ["SIGUSR1", 1, 138],
  ["SIGUSR1", 2, 138],
  ["SIGUSR2", 2, 140],
] as const)("%s saves and ends %d workers with status %d", async (name, workers, expected) => {
  const out = join(folder, `${name} ${workers}`);
  const { status, stdout, stderr } = await onehour(endless(workers, out), {
    signal: { name, when: () => hasStarted(out) },
  });
  expect(stderr).toBe("");
  expect(stdout).toMatch(/^interrupted after /m);
  expect(status).toBe(expected);
  expect(logOf(out).at(-1)).toMatchObject({ type: "end", status: "interrupted" });
});

test("a signal to a launcher and its workers alike, as Slurm sends it, is one signal", async () => {
  const out = join(folder, "everybody");
  const run = start([process.execPath, main, ...endless(2, out)]);
  await until(() => hasStarted(out), 60);
  const { pid } = run.child;
  for (const each of [...childrenOf(pid!), pid!]) process.kill(each, "SIGUSR1");
  const { status, stdout, stderr } = await run.ended;
  expect(stderr).toBe("");
  expect(stdout).toMatch(/^interrupted after /m);
  expect(status).toBe(138);
  expect(logOf(out).at(-1)).toMatchObject({ type: "end", status: "interrupted" });
});

test.each([
  ["SIGTERM", 1, 143, (pid: number) => pid],
  ["SIGUSR1", 2, 138, lastChild],
] as const)(
  "%s ends the wait for a run folder, of %d workers with status %d",
  async (name, workers, expected, to) => {
    const out = join(folder, `wait ${name}`);
    const begin = ["train", "synthetic:8x8x1:4:32", "--workers", String(workers), "--batch", "4"];
    await onehour([...begin, "--threads", "1", "--steps", "2", "--out", out]);
    const lock = await RunLock.take(out, { seconds: 0, say: () => {} });
    const before = readFileSync(join(out, "log.jsonl"), "utf8");
    const resume = ["train", "--resume", "--steps", "4", "--timeout", "600", "--out", out];
    const { status, stdout, stderr } = await onehour(resume, {
      signal: { name, when: ({ stdout }) => stdout.includes("waiting up to 600 s"), to },
    });
    lock?.release();
    expect(stderr).toBe("");
    expect(stdout).toMatch(/^interrupted after 0 steps, /m);
    expect(status).toBe(expected);
    expect(readFileSync(join(out, "log.jsonl"), "utf8")).toBe(before);
  },
);

const hasLoaded = (pid: number | undefined) =>
  pid !== undefined && readFileSync(`/proc/${pid}/maps`, "utf8").includes("onehour_");
const pidOf = ({ child }: Run) => child.pid!;

test.each([
  ["bench ops --model resnet50 --repeats 100000 --threads 1", pidOf],
  [
    "bench throughput --model resnet8 --steps 10000000 --threads 1",
    (run: Run) => childrenOf(pidOf(run))[0],
  ],
  ["evaluate CHECKPOINT synthetic:512x512x1:4:512", pidOf],
])("SIGUSR1 opens no debugger in %s", async (line, worker) => {
  const checkpoint = join(folder, "SIGUSR1 1", "checkpoint.safetensors");
  const args = line.split(" ").map((word) => (word === "CHECKPOINT" ? checkpoint : word));
  const { status, stderr } = await onehour(args, {
    signal: { name: "SIGUSR1", when: (run) => hasLoaded(worker(run)) },
  });
  expect(stderr).not.toMatch(/debugger|inspector/i);
  expect(status).toBe(138);
});

test("SIGUSR1 ends a command that has loaded no module yet, and its debugger", async () => {
  // Sent by the process itself, before anything of the command's is loaded.
  const early = "process.kill(process.pid, 'SIGUSR1')";
  const preload = `data:text/javascript,${encodeURIComponent(early)}`;
  const out = join(folder, "early");
  const { status } = await onehour(endless(1, out), {
    env: { NODE_OPTIONS: `--import=${preload}` },
  });
  expect(status).toBe(138);
  expect(existsSync(out)).toBe(false);
});

// The kernel drops a signal to such a process that has no listener.
test("SIGTERM ends process 1 of a container that does not train yet, or never will", async ({
  skip,
}) => {
  const alone = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"];
  const guard = fileURLToPath(new URL("../../dist/ranks/guard.js", import.meta.url));
  const idle = "process.stdout.write('ready ' + process.pid); setTimeout(() => {}, 600_000)";
  const run = start([...alone, process.execPath, "--import", guard, "--eval", idle]);
  let ended = false;
  void run.ended.finally(() => (ended = true));
  await until(() => ended || run.stdout.startsWith("ready"), 60);
  skip(/unshare: .*not permitted/.test(run.stderr), "no namespaces here");
  expect(run.stdout).toBe("ready 1");
  process.kill(firstChild(run.child.pid!), "SIGTERM");
  expect(await run.ended).toMatchObject({ status: 143, stderr: "" });
});

test("SIGUSR1 opens no debugger in a script's process, which may listen itself", async () => {
  const script = join(folder, "waits.mjs");
  writeFileSync(
    script,
    `process.on("SIGUSR1", () => console.log("heard"));
process.on("SIGUSR2", () => process.exit());
setInterval(() => {}, 1000);
process.kill(process.pid, "SIGUSR1");
process.kill(process.pid, "SIGUSR2");\n`,
  );
  const { status, stdout, stderr } = await onehour(["launch", "--workers", "1", script]);
  expect(stdout).toBe("heard\n");
  expect(stderr).toBe("");
  expect(status).toBe(0);
});

test("a signal during an evaluation ends the run there, also where another rank hears of it late", async () => {
  const data = join(folder, "evaluates.mjs");
  // At its first evaluation rank 0 gets the signal, and what would tell rank 1 stands still for a second.
  writeFileSync(
    data,
    `let isDone = process.env.RUN !== "first" || process.env.ONEHOUR_RANK !== "0";
const fill = async ({ labels }) => { labels.fill(1); };
export default async () => ({
  name: "made", images: { height: 8, width: 8, channels: 1 }, classes: 3, mean: [0.5], std: [0.25],
  augmentation: { padding: 0, flip: false }, defaultEpochs: 1, fingerprint: "made-1",
  train: { length: 32, fill },
  test: {
    length: 64,
    async fill(batch) {
      if (!isDone) {
        isDone = true;
        process.kill(process.ppid, "SIGSTOP");
        process.kill(process.pid, "SIGTERM");
        setTimeout(() => process.kill(process.ppid, "SIGCONT"), 1000);
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      await fill(batch);
    },
  },
});\n`,
  );
  const out = join(folder, "evaluates");
  const words = [
    "train",
    data,
    "--model",
    "resnet8",
    "--workers",
    "2",
    "--batch",
    "4",
    "--threads",
    "1",
  ];
  const first = await onehour([...words, "--epochs", "2", "--milestones", "none", "--out", out], {
    env: { RUN: "first" },
  });
  expect(first.status, first.stderr).toBe(143);
  expect(logOf(out).at(-1)).toMatchObject({ type: "end", status: "interrupted", steps: 4 });
  expect((await onehour(["train", "--resume", "--out", out])).status).toBe(0);
  const epochs = logOf(out).filter(({ type }) => type === "epoch");
  expect(epochs).toMatchObject([{ epoch: 0 }, { epoch: 1 }]);
});
