// Trains under Open MPI's mpirun and MPICH's mpiexec.hydra, on one machine and on two hosts.
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { stepsOf, temporaryFolder } from "../support/folder.js";
import { freePort, start } from "../support/process.js";
import { Cluster } from "./cluster.js";
import { withEngines } from "./engines.js";
import { hydra, mpirun } from "./mpi.js";
import { train, unbroken } from "./training.js";

const folder = temporaryFolder();
const steps = 60;

async function expectTrains(words: readonly string[], out: string, workers: number) {
  const run = await start([...words, ...train(out, { steps })]).ended;
  expect(run, run.stderr).toMatchObject({ status: 0 });
  expect(stepsOf(out)).toEqual(await unbroken(folder, workers, steps));
}

withEngines(["openmpi"], "mpirun", () => {
  test("two ranks on one machine", async () => {
    const words = ["mpirun.openmpi", "--allow-run-as-root", "--oversubscribe", "-np", "2"];
    await expectTrains(words, join(folder, "mpirun"), 2);
  });
});

withEngines(["hydra"], "mpiexec.hydra", () => {
  test("two ranks on one machine", async () => {
    // It sets nothing that tells this job from another, of which a port could be made.
    const meeting = ["-genv", "MASTER_ADDR", "127.0.0.1", "-genv", "MASTER_PORT"];
    const words = ["mpiexec.hydra", "-np", "2", ...meeting, String(await freePort())];
    await expectTrains(words, join(folder, "hydra"), 2);
  });
});

withEngines(["hosts", "openmpi", "hydra"], "on two hosts", () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await Cluster.start(["n1", "n2"]);
  });
  afterAll(() => cluster?.end());

  test("mpirun", async () => {
    const meeting = ["-x", "MASTER_ADDR=n1", "-x", "MASTER_PORT=29500"];
    const words = [...mpirun(folder, cluster, 2), ...meeting];
    await expectTrains(words, join(folder, "mpirun 2"), 4);
  });

  test("mpiexec.hydra", async () => {
    const meeting = ["-genv", "MASTER_ADDR", "n1", "-genv", "MASTER_PORT", "29500"];
    const words = [...hydra(folder, cluster, 2), ...meeting];
    await expectTrains(words, join(folder, "hydra 2"), 4);
  });
});
