// Trains under a real Slurm.
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { stepsOf, temporaryFolder } from "../support/folder.js";
import { type Cluster, startCluster } from "./cluster.js";
import { withEngines } from "./engines.js";
import { Slurm } from "./slurm.js";
import { train, unbroken } from "./training.js";

const folder = temporaryFolder();

withEngines(["hosts", "slurm"], "Slurm", () => {
  let cluster: Cluster;
  let slurm: Slurm;
  beforeAll(async () => {
    cluster = await startCluster(3);
    const hosts = new Map(cluster.hosts.map((host, index) => [host, cluster.address(index)]));
    slurm = await Slurm.start(join(folder, "slurm"), cluster.front, hosts);
  });
  afterAll(async () => {
    await cluster?.end();
    await slurm?.stop();
  });

  test.each([
    ["-N2 -n2", 2],
    ["-N2 -n4", 4],
    ["-N3 -n4", 4],
  ])("srun %s", async (words, workers) => {
    const out = join(folder, `srun ${words}`);
    const run = await slurm.run(["srun", ...words.split(" "), ...train(out, { steps: 60 })]).ended;
    expect(run, run.stderr).toMatchObject({ status: 0 });
    expect(stepsOf(out)).toEqual(await unbroken(folder, workers, 60));
  });
});
