// An experiment as processes: killed twice and started again by the same command, refused for another definition,
// stopped by a signal, and with runs that diverge or fail.
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { remarks } from "../../lib/experiment/remarks.js";
import type { ExperimentResult } from "../../lib/experiment/result.js";
import { main, onehour, typed } from "../cli/command.js";
import { logOf, stepsOf, temporaryFolder, writeFiles } from "../support/folder.js";
import { childrenOf, isAlive, start, until } from "../support/process.js";

const folder = temporaryFolder();

/** Begins an experiment and puts a file in the way of these runs. */
async function blocked(out: string, words: readonly string[], ...names: string[]): Promise<void> {
  await onehour([...words, "--budget", "0.01s"]);
  rmSync(join(out, "runs"), { recursive: true, force: true });
  writeFiles(join(out, "runs"), Object.fromEntries(names.map((name) => [name, "in the way"])));
}

/** A made-up setting whose runs take a second or two. */
const flags = (out: string, ...more: string[]) => [
  ...["experiment", "table1", "--dataset", "synthetic:8x8x1:4:2048", "--model", "resnet8"],
  ...["--large", "512", "--seeds", "2", "--jobs", "2", "--epochs", "6", "--lr", "0.05"],
  ...["--warmup-epochs", "1", "--out", out, ...more],
];
const resultOf = (out: string): ExperimentResult =>
  JSON.parse(readFileSync(join(out, "results.json"), "utf8"));
const runs = (out: string) => readdirSync(join(out, "runs")).filter((name) => name[0] !== ".");
const steps = (out: string) =>
  runs(out).reduce((sum, name) => {
    const log = join(out, "runs", name, "log.jsonl");
    return (
      sum + (existsSync(log) ? readFileSync(log, "utf8").split('"type":"step"').length - 1 : 0)
    );
  }, 0);

test("killed twice it goes on by the same command, to the runs of one that was not", async () => {
  const [out, whole] = [join(folder, "killed"), join(folder, "whole")];
  for (const least of [30, 130]) {
    const run = start([process.execPath, main, ...flags(out)]);
    await until(() => existsSync(join(out, "runs")) && steps(out) >= least);
    const trainers = childrenOf(run.child.pid!);
    expect(trainers.length).toBeGreaterThan(0);
    run.child.kill("SIGKILL");
    await run.ended;
    // What it had started saves and ends.
    await until(() => !trainers.some(isAlive));
  }
  const done = runs(out).filter((name) => logOf(join(out, "runs", name)).at(-1)?.type === "end");
  const kept = done.map((name) => readFileSync(join(out, "runs", name, "log.jsonl"), "utf8"));
  const ends = await Promise.all([onehour(flags(out)), onehour(flags(whole))]);
  for (const { status, stdout, stderr } of ends) {
    expect(stderr).toMatch(/8 of 8 runs/);
    expect(stdout).toMatch(/^finished: 8 runs in /);
    expect(status).toBe(0);
  }
  const names = runs(whole);
  expect(names).toHaveLength(8);
  expect(runs(out)).toEqual(names);
  for (const name of names)
    expect(stepsOf(join(out, "runs", name))).toEqual(stepsOf(join(whole, "runs", name)));
  // Runs that had ended were not touched.
  const interrupted = kept.filter((log) => log.includes('"status":"interrupted"'));
  for (const [i, name] of done.entries())
    if (!interrupted.includes(kept[i]!))
      expect(readFileSync(join(out, "runs", name, "log.jsonl"), "utf8")).toBe(kept[i]);
  const [a, b] = [out, whole].map((each) => resultOf(each));
  expect(a!.runs.map(({ error }) => error)).toEqual(b!.runs.map(({ error }) => error));
  expect(a!.verdicts).toEqual(b!.verdicts);
  expect(a!.verdicts.table1).toHaveLength(3);
  expect([a!.processes, b!.processes]).toEqual([3, 1]);
  expect(readFileSync(join(out, "results.md"), "utf8")).toContain(
    "in 3 processes, each going on from the one before",
  );
  for (const name of ["index.html", "results.md", "table1.svg"])
    expect(existsSync(join(out, name))).toBe(true);

  // Once more: nothing is left to do, and the result is the same.
  const again = await onehour(flags(out, "--json"));
  expect(JSON.parse(again.stdout)).toMatchObject({ status: "finished", runs: a!.runs });
  // Another definition is refused, more seeds are not.
  const other = await onehour(flags(out, "--lr", "0.1"));
  expect(other.status).toBe(2);
  expect(other.stderr).toMatch(/holds another experiment: lr is 0\.05 there, and 0\.1 was asked/);
  expect(runs(out)).toEqual(names);
});

test("the remarks' right ways keep to one worker and the wrong ones do not, also after a kill", async () => {
  const out = join(folder, "remarks");
  const words = [
    ...["experiment", "remarks", "--dataset", "synthetic:8x8x1:4:8192", "--model", "resnet8"],
    ...["--jobs", "2", "--out", out],
  ];
  const run = start([process.execPath, main, ...words]);
  // The run with a shuffle a worker is the seventh.
  await until(() => existsSync(join(out, "runs", "remark-shuffles-seed-1", "log.jsonl")));
  const trainers = childrenOf(run.child.pid!);
  run.child.kill("SIGKILL");
  await run.ended;
  await until(() => !trainers.some(isAlive));
  const { status, stdout } = await onehour(words);
  expect([status, stdout]).toEqual([0, expect.stringMatching(/^finished: 9 runs/)]);
  const { verdicts, runs: all } = resultOf(out);
  expect(all.map(({ losses }) => losses.length)).toEqual(Array(9).fill(32));
  expect(verdicts.remarks!.map(({ claim, ruling }) => [claim, ruling])).toEqual(
    remarks.map(({ title, source }) => [`${title} (${source})`, "holds"]),
  );
  const markdown = readFileSync(join(out, "results.md"), "utf8");
  expect(markdown).toContain("| command | npx onehour experiment remarks --jobs 2 --dataset");
  expect(markdown).not.toContain("length of a run");
});

test("a signal stops the runs, which save, and the command that goes on is told", async () => {
  const out = join(folder, "signalled");
  const { status, stderr } = await onehour(flags(out), {
    signal: { name: "SIGINT", when: () => existsSync(join(out, "runs")) && steps(out) > 10 },
  });
  expect(status).toBe(130);
  expect(stderr).toContain(`stopped; to go on: ${typed} ${flags(out).join(" ")}`);
  const ends = runs(out).map((name) => logOf(join(out, "runs", name)).at(-1));
  expect(ends.length).toBeGreaterThan(0);
  for (const end of ends) expect(end).toMatchObject({ type: "end" });
  expect(resultOf(out)).toMatchObject({ status: "interrupted", signal: "SIGINT" });
});

test("a budget ends it in time, over all processes, and more of it goes on", async () => {
  const out = join(folder, "budget");
  const short = await onehour(flags(out, "--budget", "4s"));
  expect(short.status).toBe(0);
  expect(short.stderr).toMatch(/no further run fits into the budget; to go on: .* --budget LONGER/);
  const { status, seconds, runs: begun } = resultOf(out);
  expect(status).toBe("out of time");
  expect(seconds).toBeGreaterThanOrEqual(0);
  expect(begun.length).toBeLessThan(8);
  const again = await onehour(flags(out, "--budget", "4s"));
  expect(again.stdout).toMatch(/^out of time/);
  expect(resultOf(out).runs.length).toBeLessThan(8);
  expect((await onehour(flags(out, "--budget", "none"))).stdout).toMatch(/^finished: 8 runs/);
});

test("runs that diverge are results with the error of a guess", async () => {
  const out = join(folder, "diverged");
  const { status, stdout } = await onehour(flags(out, "--lr", "1e30", "--seeds", "1"));
  expect(status).toBe(0);
  expect(stdout).toContain("1 diverged");
  for (const run of resultOf(out).runs) {
    expect(run).toMatchObject({ status: "diverged", error: 75 }); // of four classes
    expect(run.reason).toMatch(/is not finite/);
  }
});

test("a run that fails is named and left out, and tried again by the same command", async () => {
  const out = join(folder, "one-failed");
  const more = ["--seeds", "1", "--epochs", "2", "--milestones", "none"];
  await blocked(out, flags(out, ...more), "kn-256-seed-1");
  const first = await onehour(flags(out, ...more));
  expect(first.status).toBe(1);
  expect(first.stderr).toContain("1 run failed; to try again: ");
  expect(first.stdout).toMatch(/^failed +runs\/kn-256-seed-1:\n +\S/m);
  const failed = resultOf(out).runs.filter(({ status }) => status !== "finished");
  expect(failed).toMatchObject([{ point: "kn-256", status: "failed" }]);
  expect(resultOf(out).runs).toHaveLength(4);
  rmSync(join(out, "runs", "kn-256-seed-1"));
  const second = await onehour(flags(out, ...more));
  expect([second.status, second.stdout]).toEqual([0, expect.stringMatching(/^finished: 4 runs/)]);
});

test("a network of the user's own is trained, and makes another experiment once it is changed", async () => {
  const out = join(folder, "module");
  const net = join(folder, "net.ts");
  const text = readFileSync("examples/net.ts", "utf8");
  writeFileSync(
    net,
    text.replace('"onehour"', JSON.stringify(join(process.cwd(), "dist/index.js"))),
  );
  const own = [
    ...flags(out, "--seeds", "1", "--epochs", "2", "--milestones", "none"),
    "--model",
    net,
  ];
  const first = await onehour(own);
  expect([first.status, first.stdout]).toEqual([0, expect.stringMatching(/^finished: 4 runs/)]);
  appendFileSync(net, "// another\n");
  const second = await onehour(own);
  expect(second.status).toBe(2);
  expect(second.stderr).toMatch(/holds another experiment: model is /);
});

test("where no run gets on, the cause ends it; what cannot be meant is refused before", async () => {
  const out = join(folder, "failed");
  writeFileSync(join(folder, "file"), "");
  const { status, stderr } = await onehour(flags(join(folder, "file")));
  expect([status, stderr]).toEqual([1, expect.stringMatching(/file/)]);
  const none = join(folder, "none-gets-on");
  const points = ["kn-256", "kn-512-gradual", "kn-512-none", "kn-512-constant"];
  await blocked(none, flags(none), ...points.map((point) => `${point}-seed-1`));
  const aborted = await onehour(flags(none));
  expect(aborted.status).toBe(1);
  expect(aborted.stderr).toMatch(/no run of the experiment gets on: kn = .*, seed 1: /);
  const { status: ending, runs: tried } = resultOf(none);
  expect(ending).toBe("failed");
  expect(tried.length).toBeGreaterThanOrEqual(3);
  expect(readFileSync(join(none, "index.html"), "utf8")).not.toContain('"reload":');
  const large = await onehour(flags(out, "--large", "4096"));
  expect(large.status).toBe(2);
  expect(large.stderr).toMatch(
    /4,096 is more than the 2,048 training images of .*; name smaller ones with --large$/m,
  );
  const few = await onehour(flags(out, "--dataset", "synthetic:8x8x1:4:128"));
  expect(few.status).toBe(2);
  expect(few.stderr).toMatch(/table1 needs 256 training images or more.* has 128/);
  const model = await onehour(flags(out, "--model", "resnet9"));
  expect(model.status).not.toBe(0);
  expect(model.stderr).toMatch(/resnet9/);
  expect(existsSync(out)).toBe(false);
  writeFiles(out, { "index.html": "mine" });
  const taken = await onehour(flags(out));
  expect([taken.status, taken.stderr]).toEqual([2, expect.stringMatching(/failed holds index/)]);
  expect(readdirSync(out)).toEqual(["index.html"]);
  const begun = join(folder, "signalled", "runs");
  const others = join(folder, "others");
  cpSync(begun, join(others, "runs"), { recursive: true });
  const foreign = await onehour(flags(others));
  expect([foreign.status, foreign.stderr]).toEqual([
    2,
    expect.stringMatching(/holds runs\/kn-\S+ and no experiment\.json/),
  ]);
});

test("of two commands that begin in one folder at once one is refused, as in use", async () => {
  const out = join(folder, "both");
  const both = ["0.05", "0.1"].map((lr) => flags(out, "--seeds", "1", "--lr", lr));
  const ends = await Promise.all(both.map((words) => onehour(words)));
  const won = ends.findIndex(({ status }) => status === 0);
  expect(ends[won]!.stdout).toMatch(/^finished: 4 runs/);
  expect(ends[1 - won]).toMatchObject({ stderr: expect.stringMatching(/is in use|another exp/) });
  expect(ends[1 - won]!.status).not.toBe(0);
  const definition = JSON.parse(readFileSync(join(out, "experiment.json"), "utf8"));
  expect(definition.lr).toBe([0.05, 0.1][won]);
});

test("a data set is its folder, wherever the command is typed, and a launcher's one process may ask", async () => {
  const out = join(folder, "script-out");
  writeFileSync(
    join(folder, "ask.mjs"),
    `import { experiment } from ${JSON.stringify(join(process.cwd(), "dist/index.js"))};
    const dataset = "synthetic:8x8x1:4:2048";
    const given = { dataset, model: "resnet8", minibatches: [512], epochs: 1, milestones: [], seeds: 1 };
    const { runs } = await experiment("figure1", { ...given, out: ${JSON.stringify(out)} });
    console.log(runs.map(({ point, status }) => point + " " + status).join());`,
  );
  const one = await onehour(["launch", "--workers", "1", join(folder, "ask.mjs")]);
  expect([one.status, one.stdout.trim()]).toEqual([0, "kn-256 finished,kn-512-gradual finished"]);
  const two = await onehour(["launch", "--workers", "2", join(folder, "ask.mjs")]);
  expect(two.status).not.toBe(0);
  expect(two.stderr).toMatch(/a launcher has started 2 processes that ask for it; start one/);

  const [here, there] = [join(folder, "a"), join(folder, "b")];
  const make = join(process.cwd(), "scripts/make-imagefolder");
  for (const cwd of [here, there]) {
    mkdirSync(cwd);
    const made = await start([process.execPath, make, "images", "--images", "300"], { cwd }).ended;
    expect(made.status, made.stderr).toBe(0);
  }
  const words = (images: string) => [
    ...flags(join(folder, "of-images"), "--dataset", images, "--large", "288"),
    ...["--budget", "0.01s"],
  ];
  for (const images of ["images", "./images"])
    expect((await onehour(words(images), { cwd: here })).status).toBe(0);
  const elsewhere = await onehour(words("images"), { cwd: there });
  expect(elsewhere.status).toBe(2);
  expect(elsewhere.stderr).toMatch(/holds another experiment: dataset is /);
});
