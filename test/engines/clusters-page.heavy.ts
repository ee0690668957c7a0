// Types the commands of docs/clusters.md as they are printed, on hosts n1 and n2 and under real
// engines: each trains, and typed again it continues.
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { main } from "../cli/command.js";
import { read, root } from "../docs/pages.js";
import { stepsOf, temporaryFolder, writeFiles } from "../support/folder.js";
import { start } from "../support/process.js";
import { Cluster } from "./cluster.js";
import { withEngines } from "./engines.js";
import { writeSsh } from "./hosts.js";
import { Slurm } from "./slurm.js";
import { lossesOf } from "./training.js";

const page = read("docs/clusters.md");

/** The commands of a piece of the page, each a block. */
const commandsOf = (text: string) =>
  [...text.matchAll(/^```sh\n([\s\S]*?)^```/gm)].map(([, command]) => command!);

const typed = new Set<string>();

/** A command under a heading, counted from 0. */
function commandUnder(heading: string, index = 0): string {
  const section = new RegExp(`^#+ ${heading}\n([\\s\\S]*?)(?=^#|(?![\\s\\S]))`, "m").exec(
    page,
  )?.[1];
  const command = commandsOf(section ?? "")[index];
  if (command === undefined)
    throw new Error(`docs/clusters.md has no such command under ${heading}`);
  typed.add(command);
  return command;
}

const folder = temporaryFolder();
const threads = ["--threads", "1"];

/**
 * A folder to type in, with what the page wants there: `onehour` on PATH, which ends after so many steps
 * in place of two epochs, and deploy/. A stand-in for ssh is on PATH too.
 */
function project(name: string): {
  cwd: string;
  env: Record<string, string>;
  stopAfter: (steps: number) => void;
} {
  const cwd = join(folder, name);
  const bin = join(cwd, "node_modules/.bin");
  mkdirSync(bin, { recursive: true });
  writeSsh(bin);
  symlinkSync(join(root, "deploy"), join(cwd, "deploy"));
  const stopAfter = (steps: number) => {
    const words = [process.execPath, main, '"$@"', ...threads, "--steps", String(steps)];
    writeFiles(bin, { onehour: `#!/bin/sh\nexec ${words.join(" ")}\n` });
    chmodSync(join(bin, "onehour"), 0o755);
  };
  const env = {
    PATH: `${bin}:${process.env.PATH}`,
    // Open MPI refuses root otherwise.
    OMPI_ALLOW_RUN_AS_ROOT: "1",
    OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: "1",
  };
  return { cwd, env, stopAfter };
}

/** The losses of the commands' training by k workers of one machine, unbroken. */
async function unbroken(workers: number, steps: number) {
  const out = join(folder, `unbroken ${workers}`);
  return await lossesOf(out, [
    ...[process.execPath, main, "train", "fashion-mnist", "--model", "resnet8", "--epochs", "2"],
    ...["--workers", String(workers), "--steps", String(steps), "--out", out, ...threads],
  ]);
}

/** Types commands twice, in front or each on its host: a run's start by k workers, and its continuation. */
async function type(
  name: string,
  commands: string | readonly string[],
  workers: number,
  slurm?: Slurm,
): Promise<void> {
  const { cwd, env, stopAfter } = project(name);
  const options = { cwd, env: { ...env, ...slurm?.env } };
  const out = join(cwd, "runs/first");
  const shell = (command: string) => ["env", "-C", cwd, "sh", "-ec", command];
  for (const steps of [20, 30]) {
    stopAfter(steps);
    const runs =
      typeof commands === "string"
        ? [start(shell(commands), options)]
        : commands.map((command, index) => cluster.hosts[index]!.start(shell(command), options));
    for (const run of runs) expect(await run.ended, run.stderr).toMatchObject({ status: 0 });
    await slurm?.leaves();
    expect(existsSync(join(out, "log.jsonl")), jobLogs(cwd)).toBe(true);
    expect(stepsOf(out).length, jobLogs(cwd)).toBe(steps);
  }
  expect(stepsOf(out)).toEqual(await unbroken(workers, 30));
}

/** What batch jobs that were submitted here have written. */
const jobLogs = (cwd: string) =>
  readdirSync(cwd)
    .filter((name) => name.endsWith(".log"))
    .map((name) => readFileSync(join(cwd, name), "utf8"))
    .join("");

let cluster: Cluster;
const startHosts = async () => {
  cluster = await Cluster.start(["n1", "n2"]);
};
const endHosts = () => cluster?.end();

withEngines(["hosts"], "docs/clusters.md, by hand", () => {
  beforeAll(startHosts);
  afterAll(endHosts);
  const [first, second] = [0, 1].map((index) => commandUnder("By hand, over ssh", index));
  test("on two machines", () => type("hand", [first!, second!], 2));
  const restarting = commandUnder("Restarts");
  test("with restarts", () =>
    type("restarts", [restarting, restarting.replace("--node-rank 0", "--node-rank 1")], 2));
});

withEngines(["hosts", "openmpi", "hydra"], "docs/clusters.md, MPI", () => {
  beforeAll(startHosts);
  afterAll(endHosts);
  test.each(
    ["mpirun", "mpiexec.hydra"].map(
      (name, index) => [name, commandUnder("Open MPI and Hydra", index)] as const,
    ),
  )("%s", (name, command) => type(name, command, 4));
});

withEngines(["hosts", "torchrun"], "docs/clusters.md, torchrun", () => {
  beforeAll(startHosts);
  afterAll(endHosts);
  const command = commandUnder("torchrun");
  test("torchrun", () => type("torchrun", [command, command], 4));
});

withEngines(["hosts", "slurm"], "docs/clusters.md, Slurm", () => {
  let slurm: Slurm;
  beforeAll(async () => {
    await startHosts();
    slurm = await Slurm.start(join(folder, "slurm"), cluster);
  });
  afterAll(async () => {
    await endHosts();
    await slurm?.stop();
  });
  const headings = ["One task a rank", "One task a node", "A batch job with requeue"];
  test.each(headings.map((heading) => [heading, commandUnder(heading)] as const))(
    "%s",
    (heading, command) => type(heading.replaceAll(" ", "-"), command, 4, slurm),
  );
});

test("every command that trains is typed here", () => {
  const training = commandsOf(page).filter((command) => /onehour train|slurm\.sh/.test(command));
  expect(training.filter((command) => !typed.has(command))).toEqual([]);
});
