// Reads the environment variables of every launcher.
import { describe, expect, test } from "vitest";
import { readEnvironment } from "../../lib/ranks/environment.js";

const own = {
  ONEHOUR_RANK: "1",
  ONEHOUR_WORLD_SIZE: "2",
  ONEHOUR_LOCAL_RANK: "1",
  ONEHOUR_LOCAL_WORLD_SIZE: "2",
  ONEHOUR_RENDEZVOUS: "127.0.0.1:4000",
  ONEHOUR_TOKEN: "secret",
};
const torchrun = {
  RANK: "5",
  WORLD_SIZE: "8",
  LOCAL_RANK: "1",
  LOCAL_WORLD_SIZE: "4",
  MASTER_ADDR: "head",
  MASTER_PORT: "29500",
};
const openmpi = {
  OMPI_COMM_WORLD_RANK: "2",
  OMPI_COMM_WORLD_SIZE: "4",
  OMPI_COMM_WORLD_LOCAL_RANK: "2",
  OMPI_COMM_WORLD_LOCAL_SIZE: "4",
  PMIX_NAMESPACE: "prterun-1",
};
const slurm = {
  SLURM_STEP_ID: "0",
  SLURM_JOB_ID: "77",
  SLURM_PROCID: "6",
  SLURM_NTASKS: "7",
  SLURM_LOCALID: "0",
  SLURM_NODEID: "3",
  SLURM_STEP_TASKS_PER_NODE: "2(x3),1",
  SLURM_JOB_NODELIST: "node[003-005,9],other",
};
const pmi = { PMI_RANK: "1", PMI_SIZE: "2", MASTER_ADDR: "head", MASTER_PORT: "29500" };

const rows: [string, Record<string, string>, object][] = [
  ["nothing", {}, { source: "single", rank: 0, worldSize: 1, localRank: 0, localWorldSize: 1 }],
  [
    "own",
    own,
    {
      source: "onehour",
      rank: 1,
      worldSize: 2,
      localRank: 1,
      localWorldSize: 2,
      rendezvous: { host: "127.0.0.1", port: 4000, token: "secret" },
    },
  ],
  [
    "torchrun",
    torchrun,
    {
      source: "torchrun",
      rank: 5,
      worldSize: 8,
      localRank: 1,
      localWorldSize: 4,
      rendezvous: { host: "head", port: 29500 },
    },
  ],
  [
    "torchrun, the agent listening",
    { ...torchrun, TORCHELASTIC_USE_AGENT_STORE: "True" },
    { rendezvous: { host: "head", port: 29501 } },
  ],
  [
    "RANK without LOCAL_RANK: one process a pod",
    { RANK: "3", WORLD_SIZE: "4", MASTER_ADDR: "pod-0", MASTER_PORT: "1234" },
    { source: "torchrun", rank: 3, localRank: 0, localWorldSize: undefined },
  ],
  ["own before torchrun", { ...torchrun, ...own }, { source: "onehour", rank: 1 }],
  ["torchrun before Open MPI", { ...openmpi, ...torchrun }, { source: "torchrun", rank: 5 }],
  [
    "Open MPI on one machine",
    openmpi,
    { source: "openmpi", rank: 2, localRank: 2, rendezvous: { host: "127.0.0.1" } },
  ],
  ["Open MPI before Slurm", { ...slurm, ...openmpi }, { source: "openmpi" }],
  [
    "a Slurm step",
    slurm,
    {
      source: "slurm",
      rank: 6,
      worldSize: 7,
      localRank: 0,
      localWorldSize: 1,
      rendezvous: { host: "node003" },
    },
  ],
  [
    "a Slurm step's middle node",
    { ...slurm, SLURM_PROCID: "3", SLURM_LOCALID: "1", SLURM_NODEID: "1" },
    { localRank: 1, localWorldSize: 2 },
  ],
  [
    "Slurm's single host",
    { ...slurm, SLURM_JOB_NODELIST: "gpu-7" },
    { rendezvous: { host: "gpu-7" } },
  ],
  [
    "a Slurm job without step is one process",
    { SLURM_PROCID: "0", SLURM_NTASKS: "4" },
    { source: "single" },
  ],
  ["Slurm before PMI", { ...pmi, ...slurm }, { source: "slurm" }],
  ["PMI", pmi, { source: "pmi", rank: 1, worldSize: 2, rendezvous: { host: "head", port: 29500 } }],
  ["a world of one needs no meeting", { RANK: "0", WORLD_SIZE: "1" }, { worldSize: 1 }],
  [
    "an IPv6 meeting point",
    { ...own, ONEHOUR_RENDEZVOUS: "[::1]:5000" },
    { rendezvous: { host: "::1", port: 5000, token: "secret" } },
  ],
  [
    "one of a link",
    { ...own, ONEHOUR_RENDEZVOUS: "[fe80::1%eth0]:5000" },
    { rendezvous: { host: "fe80::1%eth0", port: 5000 } },
  ],
  [
    "MASTER_ADDR in brackets",
    { ...torchrun, MASTER_ADDR: "[fd00::1]" },
    { rendezvous: { host: "fd00::1" } },
  ],
];

describe("readEnvironment", () => {
  test.each(rows)("%s", (_, env, expected) => {
    expect(readEnvironment(env)).toMatchObject(expected);
  });

  test("all ranks of a Slurm step compute the same port, other jobs another", () => {
    const port = (job: string, rank: string) =>
      readEnvironment({ ...slurm, SLURM_JOB_ID: job, SLURM_PROCID: rank }).rendezvous!.port;
    expect(port("77", "0")).toBe(port("77", "6"));
    expect(port("77", "0")).not.toBe(port("78", "0"));
  });

  test.each<[Record<string, string>, RegExp]>([
    [{ ...torchrun, RANK: "8" }, /RANK is "8", expected a whole number from 0 to 7/],
    [{ ...torchrun, RANK: "-1" }, /RANK is "-1"/],
    [
      { ...torchrun, WORLD_SIZE: "two" },
      /WORLD_SIZE is "two", expected a whole number from 1 to 65536/,
    ],
    [{ ...torchrun, MASTER_PORT: "99999" }, /MASTER_PORT is "99999"/],
    [{ RANK: "0", WORLD_SIZE: "2" }, /Set MASTER_ADDR .* MASTER_PORT/],
    [{ ...torchrun, MASTER_ADDR: "" }, /Set MASTER_ADDR/],
    [{ ...own, ONEHOUR_WORLD_SIZE: "" }, /ONEHOUR_WORLD_SIZE is "", expected/],
    [{ ...own, ONEHOUR_RENDEZVOUS: "nowhere" }, /expected host:port/],
    [{ ...own, ONEHOUR_RENDEZVOUS: "fd00::1:5000" }, /an IPv6 address as \[::1\]:port/],
    [{ ...own, ONEHOUR_RENDEZVOUS: "head:99999" }, /ONEHOUR_RENDEZVOUS is "head:99999"/],
    [{ ...torchrun, WORLD_SIZE: "999999999999" }, /WORLD_SIZE is "9+", expected .* to 65536/],
    [{ ...torchrun, WORLD_SIZE: "1e6" }, /WORLD_SIZE is "1e6"/],
    [{ ...torchrun, LOCAL_RANK: "8" }, /LOCAL_RANK is "8", expected a whole number from 0 to 7/],
    [
      { ...torchrun, LOCAL_WORLD_SIZE: "1" },
      /LOCAL_WORLD_SIZE is "1", expected .* from 2 to 8 \(local rank 1 of 8 ranks\)/,
    ],
    [{ ...torchrun, WORLD_SIZE: "\x1b[31m\n8" }, /WORLD_SIZE is "\\x1b\[31m\\n8"/],
    [{ ...torchrun, RANK: "x".repeat(1e6) }, /^RANK is "x{1,200}… \(999,\d+ characters\)/],
    [{ ...slurm, SLURM_NODEID: "-1" }, /SLURM_NODEID is "-1"/],
    [{ ...slurm, SLURM_STEP_TASKS_PER_NODE: "many" }, /SLURM_STEP_TASKS_PER_NODE is "many"/],
    [{ ...slurm, SLURM_JOB_NODELIST: "node[" }, /list of nodes is "node\["/],
    [{ ...slurm, SLURM_LOCALID: "" }, /SLURM_LOCALID is ""/],
  ])("refuses %o", (env, message) => {
    expect(() => readEnvironment(env)).toThrow(message);
  });
});

test("the last step that srun can make has its job's tasks", () => {
  expect(readEnvironment({ ...slurm, SLURM_STEP_ID: "4294967280" }).worldSize).toBe(7);
});

test("a step of fewer tasks than its job is as large as itself", () => {
  const env = { ...slurm, SLURM_NTASKS: "16", SLURM_STEP_NUM_TASKS: "7" };
  expect(readEnvironment(env)).toEqual(readEnvironment(slurm));
});

test.each(["2(x99999999)", "2(x999999999999)"])(
  "a Slurm list of any length is read: %s",
  (list) => {
    const env = {
      ...slurm,
      SLURM_STEP_TASKS_PER_NODE: list,
      SLURM_NODEID: "3",
      SLURM_LOCALID: "0",
    };
    expect(readEnvironment(env)).toMatchObject({ source: "slurm", localWorldSize: 2 });
  },
);
