// Trains in two pods of Kubernetes: hosts of their names with the variables of its controllers.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { stepsOf, temporaryFolder } from "../support/folder.js";
import { indexedJob, pyTorchJob, trainJob } from "../support/kubernetes.js";
import type { Run } from "../support/process.js";
import { Cluster } from "./cluster.js";
import { withEngines } from "./engines.js";
import { reaches, train, unbroken } from "./training.js";

const folder = temporaryFolder();
const short = 60;
const long = 500;
const job = { name: "first", pods: 2, processes: 2 };

interface Kind {
  names: string[];
  env: (pod: number) => Record<string, string>;
  flags?: string[];
}

const kinds: Record<string, Kind> = {
  "a TrainJob": {
    names: ["first-node-0-0 first-node-0-0.first", "first-node-0-1 first-node-0-1.first"],
    env: (pod) => trainJob(pod, job),
  },
  "a PyTorchJob": {
    names: ["first-master-0", "first-worker-0"],
    env: (pod) => pyTorchJob(pod, job),
  },
  "a JobSet": {
    names: ["first-node-0-0 first-node-0-0.first", "first-node-0-1 first-node-0-1.first"],
    env: indexedJob,
    flags: [
      "--nodes",
      "2",
      "--rendezvous",
      "first-node-0-0.first:29500",
      "--workers-per-node",
      "2",
    ],
  },
};

withEngines(["hosts"], "Kubernetes", () => {
  let cluster: Cluster;
  afterEach(() => cluster?.end());

  function start({ env, flags = [] }: Kind, out: string, steps: number): Run[] {
    const words = train(out, { steps, more: [...flags, "--resume", "auto"] });
    return cluster.hosts.map((host, pod) => host.start(words, { env: env(pod) }));
  }

  async function expectTrains(runs: readonly Run[], out: string, steps: number): Promise<void> {
    for (const run of runs) expect(await run.ended, run.stderr).toMatchObject({ status: 0 });
    expect(stepsOf(out)).toEqual(await unbroken(folder, 4, steps));
  }

  test.each(Object.entries(kinds))("%s starts two workers a pod", async (name, kind) => {
    cluster = await Cluster.start(kind.names);
    const out = join(folder, name);
    await expectTrains(start(kind, out, short), out, short);
  });

  test("a pod of a JobSet that is told of no other starts no run of its own", async () => {
    cluster = await Cluster.start(["pod-0", "pod-1"]);
    const out = join(folder, "untold");
    const run = cluster.hosts[1]!.start(train(out, { steps: short }), { env: indexedJob(1) });
    const { status, stderr } = await run.ended;
    expect(status).toBe(2);
    expect(stderr).toMatch(/JOB_COMPLETION_INDEX is 1.*--nodes N and --rendezvous/);
    expect(existsSync(out)).toBe(false);
  });

  test("pods that are told to end save, and new ones continue", async () => {
    const kind = kinds["a TrainJob"]!;
    cluster = await Cluster.start(kind.names);
    const out = join(folder, "evicted");
    const runs = start(kind, out, long);
    await reaches(out, 100, runs[0]!);
    cluster.hosts[1]!.signal("TERM", out);
    for (const run of runs) expect(await run.ended, run.stderr).toMatchObject({ status: 143 });
    for (const index of cluster.hosts.keys()) {
      await cluster.hosts[index]!.powerOff();
      await cluster.boot(index);
    }
    await expectTrains(start(kind, out, long), out, long);
  });
});
