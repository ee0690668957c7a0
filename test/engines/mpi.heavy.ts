// Trains under Open MPI's mpirun and MPICH's mpiexec.hydra, on one machine and on two hosts.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { stepsOf, temporaryFolder } from "../support/folder.js";
import { start } from "../support/process.js";
import { Cluster } from "./cluster.js";
import { withEngines } from "./engines.js";
import { hydra, mpirun } from "./mpi.js";
import { auto, reaches, train, unbroken } from "./training.js";

const folder = temporaryFolder();
const short = 60;
const long = 500;

async function expectTrains(words: readonly string[], out: string, workers: number, steps = short) {
  const run = await start([...words, ...train(out, { steps, more: auto })]).ended;
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
    await expectTrains(["mpiexec.hydra", "-np", "2"], join(folder, "hydra"), 2);
  });
});

withEngines(["hosts", "openmpi", "hydra"], "on two hosts", () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await Cluster.start(["n1", "n2"]);
  });
  afterAll(() => cluster?.end());

  const engines: [string, () => string[]][] = [
    [
      "mpirun",
      () => [...mpirun(folder, cluster, 2), "-x", "MASTER_ADDR=n1", "-x", "MASTER_PORT=29500"],
    ],
    [
      "mpiexec.hydra",
      () => [
        ...hydra(folder, cluster, 2),
        ...["-genv", "MASTER_ADDR", "n1", "-genv", "MASTER_PORT", "29500"],
      ],
    ],
  ];

  test.each(engines)("%s starts two ranks a host", async (name, words) => {
    await expectTrains(words(), join(folder, `${name} 2`), 4);
  });

  test.each(engines)(
    "%s: a killed rank is named, and the same command continues",
    async (name, words) => {
      const out = join(folder, `${name} killed`);
      const run = start([...words(), ...train(out, { steps: long, more: auto })]);
      await reaches(out, 100, run);
      cluster.hosts[1]!.signal("KILL", out);
      const { status, stdout, stderr } = await run.ended;
      expect(status).not.toBe(0);
      // Both kill all ranks when one is killed, perhaps before these can speak; then the engine names it itself.
      expect(stdout + stderr).toMatch(
        /rank [23] (with PID \d+ )?on (node )?n2|PROCESSES\n.*RUNNING AT n2/,
      );
      await expectTrains(words(), out, 4, long);
    },
  );

  test.each(engines)(
    "%s without a meeting point is refused, not started as several runs",
    async (name, words) => {
      const out = join(folder, `${name} nowhere`);
      const [file, ...rest] = words();
      const without = rest.filter(
        (word, index) => !/MASTER|^-(x|genv)$/.test(word) && !/MASTER/.test(rest[index - 1]!),
      );
      const { status, stdout, stderr } = await start([
        file!,
        ...without,
        ...train(out, { steps: short }),
      ]).ended;
      expect(status).not.toBe(0);
      expect(stdout + stderr).toContain("Set MASTER_ADDR");
      expect(existsSync(out)).toBe(false);
    },
  );
});
