// Variables that contradict each other are named, with both values.
import { expect, test } from "vitest";
import { readPlace } from "../../lib/ranks/environment.js";
import {
  pytorchJob,
  srun,
  srunScript,
  torchrun,
  trainJob,
  type Variables,
} from "./engine-variables.js";

test.each<[string, Variables, RegExp]>([
  [
    "a world of one in a step of four",
    { ...srunScript, RANK: "0", WORLD_SIZE: "1", LOCAL_RANK: "0" },
    /WORLD_SIZE is 1, but SLURM_STEP_NUM_TASKS is 4: .* --nodes 1/,
  ],
  [
    "torchrun's worlds of one in a step of four",
    { ...srun, ...torchrun, RANK: "0", LOCAL_RANK: "0", WORLD_SIZE: "1", LOCAL_WORLD_SIZE: "1" },
    /WORLD_SIZE is 1, but SLURM_STEP_NUM_TASKS is 4: .* torchrun --nnodes/,
  ],
  [
    "the number of nodes as WORLD_SIZE",
    { ...srunScript, RANK: "1", WORLD_SIZE: "2" },
    /WORLD_SIZE is 2, but SLURM_STEP_NUM_TASKS is 4/,
  ],
  [
    "the batch script's RANK in every task",
    { ...srunScript, RANK: "0" },
    /RANK is 0, but SLURM_PROCID is 3: .* srun bash -c/,
  ],
  [
    "pods × processes",
    { ...pytorchJob, WORLD_SIZE: "4" },
    /WORLD_SIZE is 4, but PET_NNODES × PET_NPROC_PER_NODE is 4 × 8/,
  ],
  ["a pod's two numbers", { ...pytorchJob, RANK: "2" }, /RANK is 2, but PET_NODE_RANK is 3/],
  [
    "torchrun's world of one in four pods",
    {
      ...trainJob,
      ...torchrun,
      RANK: "0",
      WORLD_SIZE: "1",
      LOCAL_RANK: "0",
      LOCAL_WORLD_SIZE: "1",
    },
    /WORLD_SIZE is 1, but PET_NNODES is 4: .* --nnodes/,
  ],
  [
    "a torchrun of its own in each task of a step",
    { ...srun, ...torchrun, GROUP_WORLD_SIZE: "1" },
    /GROUP_WORLD_SIZE is 1, but SLURM_STEP_NUM_TASKS is 4: .* torchrun --nnodes/,
  ],
  [
    "a torchrun of its own in each pod",
    { ...trainJob, ...torchrun, GROUP_WORLD_SIZE: "1" },
    /GROUP_WORLD_SIZE is 1, but PET_NNODES is 4: .* --standalone/,
  ],
  ["WORLD_SIZE alone", { WORLD_SIZE: "4" }, /WORLD_SIZE is 4, .* RANK is not set/],
  ["RANK alone", { RANK: "2" }, /RANK is 2, .* WORLD_SIZE is not set/],
  ["LOCAL_RANK alone", { LOCAL_RANK: "1" }, /LOCAL_RANK is 1, .* RANK is not set/],
  ["PET_NODE_RANK alone", { PET_NODE_RANK: "1" }, /PET_NODE_RANK is 1, .* PET_NNODES is not set/],
  [
    "an elastic PyTorchJob's pods",
    { PET_NNODES: "1:4", PET_RDZV_ENDPOINT: "run-worker-0:23456" },
    /PET_NNODES is 1:4, .* PET_NODE_RANK is not set.* torchrun/,
  ],
  [
    "a rank beyond the world",
    { ...torchrun, RANK: "4" },
    /RANK is "4", expected .* from 0 to 3 \(WORLD_SIZE is 4\)/,
  ],
  [
    "a local rank beyond the local ranks",
    { ...torchrun, LOCAL_RANK: "2" },
    /LOCAL_WORLD_SIZE is "2", expected .* from 3 to 4 \(local rank 2 of 4 ranks\)/,
  ],
  [
    "more local ranks than ranks",
    { ...torchrun, LOCAL_WORLD_SIZE: "8" },
    /LOCAL_WORLD_SIZE is "8", expected .* to 4/,
  ],
  [
    "a pod beyond the pods",
    { ...trainJob, PET_NODE_RANK: "4" },
    /PET_NODE_RANK is "4", .* \(PET_NNODES is 4\)/,
  ],
  [
    "a local rank that Slurm did not start here",
    { ...srunScript, LOCAL_RANK: "3" },
    /SLURM_STEP_TASKS_PER_NODE is "2", expected .* from 4/,
  ],
  [
    "PALS without the number of ranks",
    { PALS_RANKID: "3", PALS_LOCAL_RANKID: "1" },
    /PMI_SIZE is not set/,
  ],
])("%s", (_, env, message) => {
  expect(() => readPlace(env, { gpus: () => 8 })).toThrow(message);
});
