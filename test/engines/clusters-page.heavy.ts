// Types the commands of docs/clusters.md as they are printed, on hosts n1 and n2 and under real
// engines: each trains, and typed again it continues.
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { main } from "../cli/command.js";
import { read, root } from "../docs/pages.js";
import { stepsOf, temporaryFolder, writeFiles } from "../support/folder.js";
import { start, until } from "../support/process.js";
import { Cluster } from "./cluster.js";
import { withEngines } from "./engines.js";
import { writeSsh } from "./hosts.js";
import { Slurm } from "./slurm.js";
import { lossesOf } from "./training.js";

const page = read("docs/clusters.md");

/** The commands under a heading. */
function commandsUnder(heading: string): string[] {
  const section = new RegExp(`^#+ ${heading}\n([\\s\\S]*?)(?=^#|(?![\\s\\S]))`, "m").exec(
    page,
  )?.[1];
  const blocks = [...(section ?? "").matchAll(/^```sh\n([\s\S]*?)^```/gm)].map(([, text]) => text!);
  if (blocks.length === 0) throw new Error(`docs/clusters.md has no commands under ${heading}`);
  return blocks;
}

const folder = temporaryFolder();
const threads = ["--threads", "1"];

/**
 * A folder to type in, with what the page wants there: \`onehour\` on PATH, which ends after so many steps
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

interface Commands {
  heading: string;
  /** Which of the heading's commands, from 0: typed on each host, or one of them on each. */
  everywhere?: number[];
  /** Or typed in front. */
  front?: number;
  /** k. */
  workers: number;
}

/** Types commands twice: a run's start, and its continuation. */
async function type(
  { heading, everywhere, front, workers }: Commands,
  cluster: Cluster,
  slurm?: Slurm,
) {
  const { cwd, env, stopAfter } = project(`${heading}-${front}`.replaceAll(/\W+/g, "-"));
  const commands = commandsUnder(heading);
  const options = { cwd, env: { ...env, ...slurm?.env } };
  const out = join(cwd, "runs/first");
  for (const steps of [20, 30]) {
    stopAfter(steps);
    const shell = (command: number) => ["env", "-C", cwd, "sh", "-ec", commands[command]!];
    const runs =
      front !== undefined
        ? [start(shell(front), options)]
        : cluster.hosts.map((host, index) =>
            host.start(shell(everywhere!.at(index % everywhere!.length)!), options),
          );
    for (const run of runs) expect(await run.ended, run.stderr).toMatchObject({ status: 0 });
    if (slurm !== undefined) await until(() => slurm.ask("squeue --noheader") === "");
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
  test("on two machines", () =>
    type({ heading: "By hand, over ssh", everywhere: [0, 1], workers: 2 }, cluster));
});

withEngines(["hosts", "openmpi", "hydra"], "docs/clusters.md, MPI", () => {
  beforeAll(startHosts);
  afterAll(endHosts);
  const heading = "Open MPI and Hydra";
  test("mpirun", () => type({ heading, front: 0, workers: 4 }, cluster));
  test("mpiexec.hydra", () => type({ heading, front: 1, workers: 4 }, cluster));
});

withEngines(["hosts", "torchrun"], "docs/clusters.md, torchrun", () => {
  beforeAll(startHosts);
  afterAll(endHosts);
  test("torchrun", () => type({ heading: "torchrun", everywhere: [0], workers: 4 }, cluster));
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
  test.each(["One task a rank", "One task a node", "A batch job with requeue"])("%s", (heading) =>
    type({ heading, front: 0, workers: 4 }, cluster, slurm),
  );
});
