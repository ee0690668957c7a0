// Trains under a real Slurm: srun in every way that it is called, stops by Slurm's own means, and the
// same command again.
import { chmodSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { stepsOf, temporaryFolder, writeFiles } from "../support/folder.js";
import { Cluster } from "./cluster.js";
import { withEngines } from "./engines.js";
import { Slurm } from "./slurm.js";
import { auto, naming, reaches, train, unbroken } from "./training.js";

const folder = temporaryFolder();
const short = 60;
const long = 500;

interface Job {
  /** Its number. */
  job: string;
  out: string;
}

/** Words as a shell reads them. */
const quoted = (words: readonly string[]) => words.map((word) => `'${word}'`).join(" ");

withEngines(["hosts", "slurm"], "Slurm", () => {
  let cluster: Cluster;
  let slurm: Slurm;
  /** Jobs that go back into the queue at once: Slurm lets them wait there for two minutes. */
  let byHand: Job;
  let byRun: Job;

  beforeAll(async () => {
    cluster = await Cluster.start(["n1", "n2", "n3"]);
    slurm = await Slurm.start(join(folder, "slurm"), cluster);
    byHand = await submitLong("by-hand");
    slurm.tell(`scontrol requeue ${byHand.job}`);
    byRun = await submitLong("by-run", ["--requeue"]);
    // As Slurm does at the time that --signal names.
    slurm.tell(`scancel --signal USR1 ${byRun.job}`);
  });
  afterAll(async () => {
    await cluster?.end();
    await slurm?.stop();
  });

  /** Submits a job that may be requeued, and waits until it trains. */
  async function submitLong(name: string, flags: readonly string[] = []): Promise<Job> {
    const out = join(folder, name);
    const job = await submit(["--requeue", "-N2", "-n2", "--open-mode=append"], out, long, {
      flags,
    });
    await reaches(out, 100);
    return { job, out };
  }

  /** Submits a batch script that trains under srun; returns the job's number. */
  async function submit(
    options: readonly string[],
    out: string,
    steps: number,
    { by = ["srun"], flags = [] }: { by?: readonly string[]; flags?: readonly string[] } = {},
  ): Promise<string> {
    const line = quoted([...by, ...train(out, { steps, more: [...auto, ...flags] })]);
    writeFiles(folder, { "batch.sh": `#!/bin/sh\n${line}\n` });
    const words = ["sbatch", "--parsable", `--output=${out}.log`, ...options];
    const { status, stdout, stderr } = await slurm.run([...words, join(folder, "batch.sh")]).ended;
    expect(status, stderr).toBe(0);
    return stdout.trim();
  }

  /** The host of a run's last ranks: Slurm gives them to its nodes in the order of their names. */
  const lastOf = (out: string) => cluster.hosts.findLast((host) => host.runs(out))!;

  const expectTrained = async (out: string, workers: number, steps: number) =>
    expect(stepsOf(out)).toEqual(await unbroken(folder, workers, steps));

  test.each([
    ["-N2 -n2", 2],
    ["-N2 -n4", 4],
    ["-N3 -n4", 4],
  ])("srun %s", async (words, workers) => {
    const out = join(folder, `srun ${words}`);
    const run = slurm.run(["srun", ...words.split(" "), ...train(out, { steps: short })]);
    expect(await run.ended, run.stderr).toMatchObject({ status: 0 });
    await expectTrained(out, workers, short);
  });

  test("srun inside salloc", async () => {
    const out = join(folder, "salloc");
    const run = slurm.run(["salloc", "-N2", "-n2", "srun", ...train(out, { steps: short })]);
    expect(await run.ended, run.stderr).toMatchObject({ status: 0 });
    await expectTrained(out, 2, short);
  });

  test("srun inside sbatch", async () => {
    const out = join(folder, "sbatch");
    await slurm.leaves(await submit(["-N2", "-n2"], out, short));
    await expectTrained(out, 2, short);
  });

  test("a batch shell trains on its own node, and says so", async () => {
    const out = join(folder, "shell");
    await slurm.leaves(await submit(["-N2", "-n2"], out, short, { by: [] }));
    expect(readFileSync(`${out}.log`, "utf8")).toMatch(/2 tasks.*srun/);
    await expectTrained(out, 1, short);
  });

  test("ranks named by a script of srun's divide the cores of their node", async () => {
    const out = join(folder, "exported");
    const script = join(folder, "exported.sh");
    const words = train(out, { steps: short }).filter(
      (word, index, all) => word !== "--threads" && all[index - 1] !== "--threads",
    );
    // As the usual scripts do: no LOCAL_WORLD_SIZE.
    writeFiles(folder, {
      "exported.sh": `#!/bin/sh
export RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID WORLD_SIZE=$SLURM_NTASKS
export MASTER_ADDR=n1 MASTER_PORT=29500
exec ${quoted(words)}
`,
    });
    const run = slurm.run(["srun", "-N2", "-n4", "--ntasks-per-node=2", "sh", script]);
    const { status, stdout, stderr } = await run.ended;
    expect(status, stderr).toBe(0);
    const cores = Math.max(1, Math.floor(availableParallelism() / 2));
    expect(stdout).toContain(`, ${cores === 1 ? "1 thread" : `${cores} threads`} a worker`);
  });

  test("salloc's own shell trains on its node, and says so", async () => {
    const out = join(folder, "interactive");
    writeFiles(folder, { "shell.sh": `#!/bin/sh\nexec ${quoted(train(out, { steps: short }))}\n` });
    chmodSync(join(folder, "shell.sh"), 0o755);
    // salloc starts the user's shell on the first node, on a terminal.
    const salloc = `env SHELL='${join(folder, "shell.sh")}' salloc -N2 -n4`;
    const run = slurm.run(["script", "-qec", salloc, "/dev/null"]);
    const { status, stdout } = await run.ended;
    expect(status, stdout).toBe(0);
    expect(stdout).toMatch(/4 tasks.*srun/);
    await expectTrained(out, 1, short);
  });

  describe("one task a node", () => {
    const words = ["srun", "-N2", "-n2", "--ntasks-per-node=1"];
    const command = (out: string, steps: number, more: readonly string[] = []) => [
      ...words,
      ...train(out, { steps, more: ["--workers-per-node", "2", ...auto, ...more] }),
    ];

    test("starts the workers of its node", async () => {
      const out = join(folder, "nodes");
      const run = slurm.run(command(out, short));
      expect(await run.ended, run.stderr).toMatchObject({ status: 0 });
      await expectTrained(out, 4, short);
    });

    test("both name a killed worker, and the same command continues", async () => {
      const out = join(folder, "worker");
      const run = slurm.run(command(out, long));
      await reaches(out, 100, run);
      const host = lastOf(out);
      host.signalWorker("KILL", out);
      const { status, stderr } = await run.ended;
      expect(status).toBe(1);
      const named = new RegExp(`^onehour: rank [23] on ${host.name}: .*SIGKILL`, "gm");
      expect(stderr.match(named), stderr).toHaveLength(2);
      const again = slurm.run(command(out, long));
      expect(await again.ended, again.stderr).toMatchObject({ status: 0 });
      await expectTrained(out, 4, long);
    });

    test("a node that is powered off is named, and the same command continues on another", async () => {
      const out = join(folder, "power");
      const run = slurm.run(command(out, long, ["--timeout", "10"]));
      await reaches(out, 100, run);
      const lost = lastOf(out);
      await lost.powerOff();
      const { status, stderr } = await run.ended;
      expect(status).not.toBe(0);
      expect(stderr).toMatch(naming(1, lost.name));
      const again = slurm.run(command(out, long));
      expect(await again.ended, again.stderr).toMatchObject({ status: 0 });
      await expectTrained(out, 4, long);
    });
  });

  test("after scancel the same command continues", async () => {
    const out = join(folder, "cancelled");
    const job = await submit(["-N2", "-n2"], out, long);
    await reaches(out, 100);
    slurm.tell(`scancel ${job}`);
    await slurm.leaves(job);
    expect(stepsOf(out).length).toBeLessThan(long);
    await slurm.leaves(await submit(["-N2", "-n2"], out, long));
    await expectTrained(out, 2, long);
  });

  test("a killed rank is named, and the same command continues", async () => {
    const out = join(folder, "killed");
    const command = ["srun", "-N2", "-n2", ...train(out, { steps: long, more: auto })];
    const run = slurm.run(command);
    await reaches(out, 100, run);
    const host = lastOf(out);
    host.signal("KILL", out);
    const { status, stderr } = await run.ended;
    expect(status).not.toBe(0);
    expect(stderr).toMatch(new RegExp(`rank 1 on ${host.name}`));
    const again = slurm.run(command);
    expect(await again.ended, again.stderr).toMatchObject({ status: 0 });
    await expectTrained(out, 2, long);
  });

  test("the rank whose data cannot be read says so last, and the other names it", async () => {
    const out = join(folder, "unreadable");
    const data = join(folder, "data.mjs");
    const said = `${out}.errors`;
    writeFiles(folder, {
      "data.mjs": `let reads = 0;
const split = (length) => ({
  length,
  async fill({ labels }) {
    if (++reads > 20 && process.env.SLURM_PROCID === "1") throw new Error("made of cheese");
    labels.fill(1);
  },
});
export default () => ({
  name: "made", images: { height: 8, width: 8, channels: 1 }, classes: 3, mean: [0.5], std: [0.25],
  augmentation: { padding: 0, flip: false },
  train: split(32), test: split(4),
  defaultEpochs: 1, fingerprint: "made-1",
});
`,
      // What srun collects from several nodes may come in another order than it was written.
      "unreadable.sh": `#!/bin/sh\nexec ${quoted(train(out, { steps: long, data }))} 2>>'${said}'\n`,
    });
    const run = slurm.run(["srun", "-N2", "-n2", "sh", join(folder, "unreadable.sh")]);
    const { status } = await run.ended;
    const text = readFileSync(said, "utf8");
    expect(status, text).toBe(1);
    expect(text.match(/^onehour: .*$/gm)).toEqual([
      expect.stringMatching(/^onehour: rank 0 on n\d: .*rank 1 on n\d failed: .*made of cheese/),
      expect.stringMatching(/^onehour: rank 1 on n\d: .*made of cheese/),
    ]);
  });

  test.each([
    ["scontrol requeue", () => byHand],
    ["SIGUSR1 to a run with --requeue", () => byRun],
  ])("after %s the job continues by itself", async (_, which) => {
    const { job, out } = which();
    await slurm.leaves(job);
    expect(readFileSync(`${out}.log`, "utf8")).toContain(`continuing ${out}`);
    await expectTrained(out, 2, long);
  });
});
