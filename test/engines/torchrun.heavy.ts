// Trains under torchrun, on one machine and on two hosts.
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { stepsOf, temporaryFolder } from "../support/folder.js";
import { start } from "../support/process.js";
import { Cluster } from "./cluster.js";
import { withEngines } from "./engines.js";
import { torchrun } from "./torchrun.js";
import { train, unbroken } from "./training.js";

const folder = temporaryFolder();
const steps = 60;

withEngines(["torchrun"], "torchrun", () => {
  test("two ranks on one machine", async () => {
    const out = join(folder, "alone");
    const run = await start([...torchrun(2, "--standalone"), ...train(out, { steps })]).ended;
    expect(run, run.stderr).toMatchObject({ status: 0 });
    expect(stepsOf(out)).toEqual(await unbroken(folder, 2, steps));
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
