// Refuses variables that contradict each other. Engines run inside one another (torchrun in a step of
// Slurm's, any of them in a pod), so numbers of two engines are compared only where one of them cannot be.
import type { OnehourError } from "../errors.js";
import type { Environment } from "../system/variables.js";
import type { Engine } from "./engines.js";
import { isTask } from "./slurm.js";
import { known, misplaced } from "./variables.js";

const oneMachine = "for a run of this process alone give --nodes 1";

/** Throws ERR_ONEHOUR_ENVIRONMENT naming both values; `engine` gave this process its rank. */
export function requireConsistent(env: Environment, engine: Engine | undefined): void {
  if (engine === undefined) requireComplete(env);
  if (engine?.source !== "torchrun") return;
  requireStep(env);
  requirePod(env);
}

// What says that there are several processes, from this number on, and what must then be set too.
const companions = [
  { name: "WORLD_SIZE", least: 2, other: "RANK", says: "which of them" },
  { name: "RANK", least: 1, other: "WORLD_SIZE", says: "how many they are" },
  { name: "LOCAL_RANK", least: 1, other: "RANK", says: "which of them" },
  { name: "PET_NNODES", least: 2, other: "PET_NODE_RANK", says: "which of them" },
  { name: "PET_NODE_RANK", least: 1, other: "PET_NNODES", says: "how many they are" },
] as const;

/** Half of what says who this process is would make it a silent world of one. */
function requireComplete(env: Environment): void {
  // A batch script sets some of them for the tasks that it starts by srun.
  if (env.SLURM_JOB_ID !== undefined) return;
  for (const { name, least, other, says } of companions) {
    // An elastic job's "1:4" pods have no numbers.
    const [, most] = /^(?:\d+:)?(\d{1,6})$/.exec(env[name] ?? "") ?? [];
    if (env[other] === undefined && Number(most) >= least)
      throw misplaced(
        `${name} is ${env[name]}, so this is one of several processes, but ${other} is not set, which says ` +
          `${says}. Set it in each of them or start them by torchrun; ${oneMachine}`,
      );
  }
}

/** RANK and WORLD_SIZE in a task of srun's. */
function requireStep(env: Environment): void {
  const [tasks, task] = [known(env, "SLURM_STEP_NUM_TASKS"), known(env, "SLURM_PROCID")];
  const [worldSize, rank] = [known(env, "WORLD_SIZE"), known(env, "RANK")];
  if (!isTask(env) || tasks === undefined || worldSize === undefined) return;
  const agent = env.TORCHELASTIC_RUN_ID !== undefined; // torchrun, one of which each task may be
  if (worldSize < tasks && (worldSize === 1 || !agent))
    throw contradiction(
      ["WORLD_SIZE", worldSize, "SLURM_STEP_NUM_TASKS", tasks],
      "srun started more processes than the run has ranks",
      agent
        ? `give torchrun --nnodes and a rendezvous, or ${oneMachine}`
        : `set WORLD_SIZE to srun's number of tasks, or ${oneMachine}`,
    );
  if (agent && tasks > 1 && isLoneAgent(env))
    throw contradiction(
      ["GROUP_WORLD_SIZE", 1, "SLURM_STEP_NUM_TASKS", tasks],
      "the torchrun of each of srun's tasks has started a run of its own",
      "give torchrun --nnodes and a rendezvous, or start it in one task",
    );
  if (!agent && worldSize === tasks && (rank === 0) !== (task === 0))
    throw contradiction(
      ["RANK", rank, "SLURM_PROCID", task],
      "rank 0 must be srun's task 0",
      "set RANK in each task: srun bash -c 'RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID …'",
    );
}

/** Whether the torchrun that started this process, the agent of its node, has met no other. */
const isLoneAgent = (env: Environment) => known(env, "GROUP_WORLD_SIZE") === 1;

/** RANK and WORLD_SIZE in a pod of Kubeflow's; torchrun has replaced them where it set LOCAL_RANK. */
function requirePod(env: Environment): void {
  const [nodes, nodeRank] = [known(env, "PET_NNODES"), known(env, "PET_NODE_RANK")];
  const [worldSize, rank] = [known(env, "WORLD_SIZE"), known(env, "RANK")];
  if (nodes === undefined) return;
  const processes = known(env, "PET_NPROC_PER_NODE") ?? 1;
  if (env.LOCAL_RANK !== undefined) {
    if (worldSize === 1 && nodes > 1)
      throw contradiction(
        ["WORLD_SIZE", worldSize, "PET_NNODES", nodes],
        "the job has more pods than the run has ranks",
        `leave --nnodes of torchrun out, or ${oneMachine}`,
      );
    if (nodes > 1 && isLoneAgent(env))
      throw contradiction(
        ["GROUP_WORLD_SIZE", 1, "PET_NNODES", nodes],
        "the torchrun of each pod has started a run of its own",
        "leave --standalone and --nnodes of torchrun out",
      );
  } else if (worldSize !== nodes * processes)
    throw contradiction(
      ["WORLD_SIZE", worldSize, "PET_NNODES × PET_NPROC_PER_NODE", `${nodes} × ${processes}`],
      "the number of ranks is the pods times the processes of each",
      "leave WORLD_SIZE and RANK to the engine",
    );
  else if (nodeRank !== undefined && rank !== nodeRank)
    throw contradiction(
      ["RANK", rank, "PET_NODE_RANK", nodeRank],
      "both are the pod's number",
      "leave RANK and WORLD_SIZE to the engine",
    );
}

function contradiction(
  [name, value, other, otherValue]: [string, unknown, string, unknown],
  reason: string,
  advice: string,
): OnehourError {
  return misplaced(`${name} is ${value}, but ${other} is ${otherValue}: ${reason}; ${advice}`);
}
