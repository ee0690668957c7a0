// Trains under torchrun, on one machine and on two hosts.
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { logOf, stepsOf, temporaryFolder } from "../support/folder.js";
import { childrenOf, start } from "../support/process.js";
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
    expect(run.stderr).toMatch(/rank 0/);
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

  test("two ranks a host", async () => {
    const out = join(folder, "hosts");
    const rendezvous = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "n1:29400", "--rdzv-id", "j1"];
    const words = [...torchrun(2, "--nnodes", "2", ...rendezvous), ...train(out, { steps })];
    const runs = cluster.hosts.map((host) => host.start(words));
    for (const { ended } of runs) {
      const run = await ended;
      expect(run, run.stderr).toMatchObject({ status: 0 });
    }
    expect(stepsOf(out)).toEqual(await unbroken(folder, 4, steps));
  });
});
