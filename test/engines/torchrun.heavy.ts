// Trains under torchrun, on one machine and on two hosts.
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { logOf, stepsOf, temporaryFolder } from "../support/folder.js";
import { childrenOf, type Run, start } from "../support/process.js";
import { Cluster } from "./cluster.js";
import { withEngines } from "./engines.js";
import { torchrun } from "./torchrun.js";
import { auto, reaches, train, unbroken } from "./training.js";

const folder = temporaryFolder();
const steps = 60;
const long = 500;

withEngines(["torchrun"], "torchrun", () => {
  test("two ranks on one machine", async () => {
    const out = join(folder, "alone");
    const run = await start([...torchrun(2, "--standalone"), ...train(out, { steps })]).ended;
    expect(run, run.stderr).toMatchObject({ status: 0 });
    expect(stepsOf(out)).toEqual(await unbroken(folder, 2, steps));
  });

  test("a killed rank is named, and torchrun's restart continues", async () => {
    const out = join(folder, "killed");
    const words = torchrun(2, "--standalone", "--max-restarts", "1");
    const run = start([...words, ...train(out, { steps: long, more: auto })]);
    await reaches(out, 100, run);
    const [first] = childrenOf(run.child.pid!);
    process.kill(first!, "SIGKILL");
    expect(await run.ended, run.stderr).toMatchObject({ status: 0 });
    expect(run.stderr).toMatch(
      /waited for rank 0 on \S+, which ended without a word|rank\s*: 0 \(local_rank: 0\)/,
    );
    expect(stepsOf(out)).toEqual(await unbroken(folder, 2, long));
  });

  test("SIGTERM to torchrun saves the run, and the same command continues", async () => {
    const out = join(folder, "ended");
    const command = [...torchrun(2, "--standalone"), ...train(out, { steps: long, more: auto })];
    const run = start(command);
    await reaches(out, 100, run);
    run.child.kill("SIGTERM");
    expect((await run.ended).status).not.toBe(0);
    expect(logOf(out).at(-1)).toMatchObject({ type: "end", status: "interrupted" });
    expect(await start(command).ended, run.stderr).toMatchObject({ status: 0 });
    expect(stepsOf(out)).toEqual(await unbroken(folder, 2, long));
  });
});

withEngines(["hosts", "torchrun"], "torchrun on two hosts", () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await Cluster.start(["n1", "n2"]);
  });
  afterAll(() => cluster?.end());

  const rendezvous = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "n1:29400", "--rdzv-id", "j1"];

  /** Starts two ranks a host by the same command on both. */
  function startBoth(out: string, total: number, more: readonly string[] = []): Run[] {
    const engine = torchrun(2, "--nnodes", "2", ...rendezvous, ...more);
    const words = [...engine, ...train(out, { steps: total, more: auto })];
    return cluster.hosts.map((host) => host.start(words));
  }

  async function expectTrains(runs: readonly Run[], out: string, total: number): Promise<void> {
    for (const run of runs) expect(await run.ended, run.stderr).toMatchObject({ status: 0 });
    expect(stepsOf(out)).toEqual(await unbroken(folder, 4, total));
  }

  test("two ranks a host", async () => {
    const out = join(folder, "hosts");
    await expectTrains(startBoth(out, steps), out, steps);
  });

  test("SIGTERM to one host's torchrun saves the run, and the same command continues", async () => {
    const out = join(folder, "hosts-ended");
    const runs = startBoth(out, long);
    await reaches(out, 100, runs[0]);
    // The child of nsenter, which leads into the host.
    const [agent] = childrenOf(runs[1]!.child.pid!);
    process.kill(agent!, "SIGTERM");
    for (const run of runs) expect((await run.ended).status, run.stderr).not.toBe(0);
    expect(logOf(out).at(-1)).toMatchObject({ type: "end", status: "interrupted" });
    await expectTrains(startBoth(out, long), out, long);
  });

  test("a rank that is killed on one host is named, and both continue", async () => {
    const out = join(folder, "hosts-killed");
    const runs = startBoth(out, long, ["--max-restarts", "1"]);
    await reaches(out, 100, runs[0]);
    cluster.hosts[1]!.signal("KILL", out);
    await expectTrains(runs, out, long);
    expect(runs[0]!.stderr).toMatch(/^onehour: .*rank [23] on n2/m);
    expect(runs[0]!.stdout).toContain(`continuing ${out}`);
  });
});
