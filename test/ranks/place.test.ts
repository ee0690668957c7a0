// What a process is by the variables of each engine, and by flags.
import { describe, expect, test } from "vitest";
import { type PlaceOptions, readEnvironment, readPlace } from "../../lib/ranks/environment.js";
import {
  batch,
  exported,
  flux,
  hydra,
  interactive,
  master,
  openmpi,
  pals,
  pytorchJob,
  pytorchJobOfOne,
  srun,
  srunANode,
  srunScript,
  torchrun,
  trainJob,
  type Variables,
} from "./engine-variables.js";

const rank = { level: "rank", rank: 3, worldSize: 4, localRank: 1, localWorldSize: 2 };
const [n1, n1Master] = [{ host: "n1" }, { rendezvous: { host: "n1", port: 29500 } }];
const pods = { level: "node", source: "kubeflow", nodes: 4, nodeRank: 3, workersPerNode: 8 };

const rows: [string, Variables, object, PlaceOptions?][] = [
  ["nothing", {}, { level: "alone" }],
  ["torchrun", torchrun, { ...rank, source: "torchrun", rendezvous: { host: "n1", port: 41017 } }],
  ["srun, one task a rank", srun, { ...rank, source: "slurm", rendezvous: n1 }],
  ["srun's script of RANK, LOCAL_RANK, WORLD_SIZE", srunScript, { ...rank, source: "torchrun" }],
  [
    "such variables without Slurm",
    { ...exported, RANK: "3", LOCAL_RANK: "1" },
    { ...rank, localWorldSize: undefined },
  ],
  [
    "srun, one task a node of several GPUs",
    srunANode,
    { level: "node", source: "slurm", nodes: 2, nodeRank: 1, rendezvous: n1 },
    { gpus: () => 8 },
  ],
  [
    "srun, one task a node of one GPU",
    srunANode,
    { level: "rank", rank: 1, worldSize: 2, localRank: 0, localWorldSize: 1 },
    { gpus: () => 1 },
  ],
  [
    "srun, one task a node, and --workers-per-node",
    srunANode,
    { level: "node", nodes: 2, nodeRank: 1, workersPerNode: 2 },
    { workersPerNode: 2 },
  ],
  [
    "srun, one task a node, and --workers-per-node 1, for what only a node's supervisor does",
    srunANode,
    { level: "node", nodes: 2, nodeRank: 1, workersPerNode: 1 },
    { workersPerNode: 1, gpus: () => 1 },
  ],
  [
    "RANK and WORLD_SIZE of one process a machine, and --workers-per-node",
    { ...master, RANK: "1", WORLD_SIZE: "2" },
    { level: "node", nodes: 2, nodeRank: 1, workersPerNode: 2 },
    { workersPerNode: 2 },
  ],
  [
    "srun, one task on one node of several GPUs",
    { ...srun, SLURM_PROCID: "0", SLURM_LOCALID: "0", SLURM_STEP_NUM_TASKS: "1" },
    { level: "alone" },
    { gpus: () => 8 },
  ],
  ["Open MPI", { ...openmpi, ...master }, { ...rank, source: "openmpi", ...n1Master }],
  ["Hydra", { ...hydra, ...master }, { ...rank, source: "hydra", ...n1Master }],
  ["PALS", { ...pals, ...master }, { ...rank, source: "pmi", ...n1Master }],
  ["Flux", { ...flux, ...master }, { ...rank, localWorldSize: undefined, source: "flux" }],
  [
    "Kubeflow Trainer v2",
    trainJob,
    { ...pods, rendezvous: { host: "run-node-0-0.run", port: 29500 } },
  ],
  [
    "Kubeflow Trainer v2, as many processes as the pod has GPUs",
    { ...trainJob, PET_NPROC_PER_NODE: "auto" },
    { level: "node", nodes: 4, nodeRank: 3, workersPerNode: undefined },
  ],
  [
    "Kubeflow Trainer v2, one pod",
    { ...trainJob, PET_NNODES: "1", PET_NODE_RANK: "0" },
    { level: "node", nodes: 1, nodeRank: 0, workersPerNode: 8, rendezvous: undefined },
  ],
  ["Kubeflow Trainer v2, and --node-rank", trainJob, { ...pods, nodeRank: 1 }, { nodeRank: 1 }],
  [
    "PyTorchJob v1, several processes a pod",
    pytorchJob,
    { ...pods, rendezvous: { host: "run-master-0", port: 23456 } },
  ],
  [
    "PyTorchJob v1, one process a pod",
    pytorchJobOfOne,
    { level: "rank", rank: 3, worldSize: 4, localRank: 0, localWorldSize: undefined },
    { gpus: () => 8 },
  ],
  [
    "PyTorchJob v1, as many processes as the pod has GPUs",
    { ...pytorchJobOfOne, PET_NPROC_PER_NODE: "auto" },
    { level: "node", nodes: 4, nodeRank: 3, workersPerNode: undefined },
    { gpus: () => 8 },
  ],
  [
    "PyTorchJob v1, gpu, and one GPU a pod",
    { ...pytorchJobOfOne, PET_NPROC_PER_NODE: "gpu" },
    { level: "rank", rank: 3, worldSize: 4 },
    { gpus: () => 1 },
  ],
  [
    "an indexed Job's pod 0",
    { JOB_COMPLETION_INDEX: "0" },
    {
      level: "alone",
      note: expect.stringMatching(/this pod of the job alone.* --nodes N and --rend/),
    },
  ],
  [
    "an indexed Job's other pods, and flags",
    { JOB_COMPLETION_INDEX: "2" },
    { level: "node", source: "job", nodes: 4, nodeRank: 2, rendezvous: n1 },
    { nodes: 4, rendezvous: { host: "n1", port: 29500 } },
  ],
];

test.each(rows)("%s", (_, env, expected, options) => {
  const nothing = { workersPerNode: undefined, rendezvous: undefined };
  expect({ ...nothing, ...readPlace(env, options) }).toMatchObject(expected);
});

describe("one engine inside another", () => {
  test.each<[string, Variables, object]>([
    ["torchrun in srun's one task a node", { ...srunANode, ...torchrun }, { source: "torchrun" }],
    ["torchrun in a pod of Kubeflow's", { ...pytorchJob, ...torchrun }, { source: "torchrun" }],
    ["torchrun in a TrainJob", { ...trainJob, ...torchrun }, { source: "torchrun" }],
    [
      "mpirun in a batch script, whose daemons srun started",
      { ...srunANode, ...openmpi, ...master },
      { source: "openmpi" },
    ],
    [
      "mpiexec in a batch script, whose proxies srun started",
      { ...srunANode, ...hydra, ...master },
      { source: "hydra" },
    ],
    ["mpirun in a pod", { ...trainJob, ...openmpi, ...master }, { source: "openmpi" }],
    ["Flux, whose brokers srun started", { ...srunANode, ...flux, ...master }, { source: "flux" }],
  ])("%s: the inner one counts", (_, env, expected) => {
    expect(readPlace(env)).toMatchObject({ level: "rank", rank: 3, worldSize: 4, ...expected });
  });

  test("srun's PMI is not a second engine", () => {
    expect(readPlace({ ...srun, PMI_RANK: "3", PMI_SIZE: "4" })).toMatchObject({ source: "slurm" });
  });
});

describe("a shell of a Slurm job that srun did not start uses its node alone and says so", () => {
  const note = /Slurm's job has 4 tasks, .* uses this node alone.* put srun before the command/;
  test.each<[string, Variables]>([
    ["sbatch's script", batch],
    ["sbatch's script that exports for srun", { ...batch, ...exported }],
    ["salloc's interactive step", interactive],
    ["salloc CMD", { SLURM_JOB_ID: "77", SLURM_NTASKS: "4", SLURM_NNODES: "2" }],
    ["the step of the batch script", { ...batch, SLURM_STEP_ID: "4294967291" }],
    ["a step for others' processes", { ...batch, SLURM_STEP_ID: "4294967292" }],
    ["a step not yet numbered", { ...batch, SLURM_STEP_ID: "4294967293" }],
  ])("%s", (_, env) => {
    expect(readPlace(env, { gpus: () => 8 })).toEqual({
      level: "alone",
      note: expect.stringMatching(note),
    });
  });

  test("of two nodes with a task each, too", () => {
    expect(readPlace({ SLURM_JOB_ID: "7", SLURM_NTASKS: "1", SLURM_NNODES: "2" })).toMatchObject({
      note: expect.stringMatching(/Slurm's job has 2 nodes/),
    });
  });

  test("but says nothing where the job has no more", () => {
    expect(readPlace({ SLURM_JOB_ID: "7", SLURM_NTASKS: "1", SLURM_NNODES: "1" })).toEqual({
      level: "alone",
    });
  });
});

describe("wrong starts that were silent", () => {
  test("pods do not have a part of a process each", () => {
    const { PET_NNODES: _, ...uncounted } = pytorchJob;
    expect(() => readPlace({ ...uncounted, WORLD_SIZE: "30" })).toThrow(
      /WORLD_SIZE is 30 and PET_NPROC_PER_NODE 8, expected a number of ranks that the number of processes of each/,
    );
  });

  test("a pod of a TrainJob is no world of one", () => {
    expect(readPlace(trainJob)).toMatchObject({ level: "node", nodes: 4 });
  });

  test("a pod's index is no rank where the pod has several processes", () => {
    expect(readPlace(pytorchJob)).toMatchObject({ level: "node", nodeRank: 3 });
  });

  test("a pod of an indexed Job is no world of one", () => {
    expect(() => readPlace({ JOB_COMPLETION_INDEX: "2" })).toThrow(
      /JOB_COMPLETION_INDEX is 2, .* one of several pods.* --nodes N and --rendezvous host:port/,
    );
    expect(readPlace({ JOB_COMPLETION_INDEX: "2" }, { nodes: 1 })).toEqual({ level: "alone" });
  });

  test("srun's script without LOCAL_WORLD_SIZE leaves rank 0 its share of the cores, not all", () => {
    const first = { ...srunScript, RANK: "0", LOCAL_RANK: "0", SLURM_PROCID: "0" };
    expect(readPlace({ ...first, SLURM_LOCALID: "0", SLURM_NODEID: "0" })).toMatchObject({
      ...{ rank: 0, localRank: 0, localWorldSize: 2 },
    });
  });

  test("Hydra over several machines meets at MASTER_ADDR, and says how to hand it over", () => {
    expect(() => readPlace(hydra)).toThrow(/Set MASTER_ADDR .* -genv MASTER_ADDR HOST -genv/);
    expect(readPlace({ ...hydra, ...master })).toMatchObject(n1Master);
  });

  test("Open MPI over several machines meets at MASTER_ADDR, and says how to hand it over", () => {
    expect(() => readPlace(openmpi)).toThrow(/Set MASTER_ADDR .* -x MASTER_ADDR=HOST -x MASTER_/);
    expect(readPlace({ ...openmpi, ...master })).toMatchObject(n1Master);
  });

  test("srun's one task a node uses all GPUs", () => {
    expect(readPlace(srunANode, { gpus: () => 8 })).toMatchObject({ level: "node", nodes: 2 });
  });
});

describe("flags", () => {
  const rendezvous = { host: "n1", port: 29500 };

  test("give the place without an engine", () => {
    expect(readPlace({}, { nodes: 2, nodeRank: 1, rendezvous, workersPerNode: 4 })).toEqual({
      ...{ level: "node", source: "single", nodes: 2, nodeRank: 1, workersPerNode: 4, rendezvous },
    });
  });

  test("take what they leave out from the engine that started one process a node", () => {
    for (const env of [
      srunANode,
      {
        ...openmpi,
        OMPI_COMM_WORLD_RANK: "1",
        OMPI_COMM_WORLD_SIZE: "2",
        OMPI_COMM_WORLD_LOCAL_RANK: "0",
        OMPI_COMM_WORLD_LOCAL_SIZE: "1",
        ...master,
      },
    ])
      expect(readPlace(env, { nodes: 2 })).toMatchObject({
        level: "node",
        nodeRank: 1,
        rendezvous: n1,
      });
    expect(readPlace(pytorchJob, { nodes: 4 })).toMatchObject({ nodeRank: 3, workersPerNode: 8 });
  });

  test("carry the secret", () => {
    const place = readPlace({ ONEHOUR_TOKEN: "secret" }, { nodes: 2, nodeRank: 0, rendezvous });
    expect(place).toMatchObject({ rendezvous: { ...rendezvous, token: "secret" } });
  });

  test("are refused where the place stays unknown or is another's", () => {
    expect(() => readPlace({}, { nodes: 2, rendezvous })).toThrow(/--node-rank, from 0 to 1/);
    expect(() => readPlace(batch, { nodes: 2, rendezvous })).toThrow(/by srun or mpirun/);
    expect(() => readPlace({}, { nodes: 2, nodeRank: 0 })).toThrow(/--rendezvous host:port/);
    expect(() => readPlace(srun, { nodes: 2 })).toThrow(
      /--nodes is 2, .* is 4, with 2 of them here/,
    );
    expect(() => readPlace(srun, { workersPerNode: 4 })).toThrow(
      /--workers-per-node is 4, but this process is one of 2 ranks .* \(SLURM_PROCID\)/,
    );
    expect(() => readPlace({ JOB_COMPLETION_INDEX: "2" }, { nodes: 2, rendezvous })).toThrow(
      /JOB_COMPLETION_INDEX is "2", expected .* from 0 to 1 \(--nodes is 2\)/,
    );
  });

  test("of one node make any process alone", () => {
    for (const env of [srun, trainJob, pytorchJob, { WORLD_SIZE: "4" }])
      expect(readPlace(env, { nodes: 1 })).toEqual({ level: "alone" });
    expect(readPlace(srun, { nodes: 1, workersPerNode: 2 })).toEqual({
      ...{ level: "node", source: "slurm", nodes: 1, nodeRank: 0, workersPerNode: 2 },
    });
  });
});

describe("connect()'s place", () => {
  test("is none in a process that is to start several ranks", () => {
    expect(() => readEnvironment(trainJob)).toThrow(
      /start the 8 ranks of its node.* by `onehour launch`/,
    );
  });

  test("is the node's number where each node has one process", () => {
    const one = { ...trainJob, PET_NPROC_PER_NODE: "1" };
    expect(readEnvironment(one)).toMatchObject({ rank: 3, worldSize: 4, localWorldSize: 1 });
  });

  test("is a world of one, with a note, where srun was left out", () => {
    expect(readEnvironment(interactive)).toEqual({
      ...{ source: "single", rank: 0, worldSize: 1, localRank: 0, localWorldSize: 1 },
      note: expect.stringMatching(/Slurm's job has 4 tasks, .* put srun before the command/),
    });
  });
});
