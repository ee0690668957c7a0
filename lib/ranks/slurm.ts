// What Slurm's variables say: of the step that srun started, and of the job around it.
import type { Environment } from "../system/variables.js";
import { plural, shown } from "../text/words.js";
import { problem, read } from "./variables.js";

const lastStep = 0xfffffff0; // SLURM_MAX_NORMAL_STEP_ID of slurm.h

/**
 * The environment with the step's own number of tasks; Slurm before 20.11 gave only the job's. Steps
 * beyond the last that srun makes (salloc's interactive one, the batch script's) are one task each.
 */
export function withStepTasks(env: Environment): Environment {
  const { SLURM_STEP_ID: step, SLURM_STEP_NUM_TASKS: tasks, SLURM_NTASKS: all } = env;
  const known = tasks ?? (isBeyondSrun(step) ? "1" : all);
  return known === undefined ? env : { ...env, SLURM_STEP_NUM_TASKS: known };
}

const isBeyondSrun = (step: string | undefined) => Number(step) > lastStep;

/** Whether this process is a task of srun's. */
export function isTask({ SLURM_STEP_ID: step, SLURM_PROCID: rank }: Environment): boolean {
  return step !== undefined && rank !== undefined && !isBeyondSrun(step);
}

/** What a shell of the job that srun did not start, of salloc or sbatch, is told; undefined elsewhere. */
export function noteOfShell(env: Environment): string | undefined {
  const { SLURM_JOB_ID: job, SLURM_STEP_ID: step } = env;
  if ((job === undefined && step === undefined) || isTask(env)) return undefined;
  const size = [
    [env.SLURM_NTASKS, "task"],
    [env.SLURM_JOB_NUM_NODES ?? env.SLURM_NNODES, "node"],
  ].find(([text]) => /^\d+$/.test(text ?? "") && Number(text) > 1) as [string, string] | undefined;
  if (size === undefined) return undefined;
  return (
    `Slurm's job has ${plural(Number(size[0]), size[1])}, but srun did not start this process: ` +
    "it uses this node alone. To run on all of them, put srun before the command"
  );
}

/** The tasks of the step on each node: SLURM_STEP_TASKS_PER_NODE is "2(x3),1". */
function tasksPerNode(list: string): { tasks: number; nodes: number }[] {
  return list.split(",").map((part) => {
    const [, tasks, nodes = "1"] = /^(\d+)(?:\(x(\d+)\))?$/.exec(part) ?? [];
    if (tasks !== undefined) return { tasks: Number(tasks), nodes: Number(nodes) };
    throw problem(
      `SLURM_STEP_TASKS_PER_NODE is ${shown(list)}`,
      'numbers of tasks such as "2(x3),1"',
    );
  });
}

/** How many tasks of the step Slurm started here; undefined where it does not say. */
export function tasksOnThisNode(env: Environment): number | undefined {
  const { SLURM_STEP_TASKS_PER_NODE: list } = env;
  if (list === undefined) return undefined;
  // Nodes of the list before this one.
  let before = env.SLURM_NODEID === undefined ? 0 : read(env, "SLURM_NODEID", 0);
  for (const { tasks, nodes } of tasksPerNode(list)) {
    if (before < nodes) return tasks;
    before -= nodes;
  }
  return undefined;
}

/** Whether srun started one task on each node of the step. */
export function isOneTaskANode({ SLURM_STEP_TASKS_PER_NODE: list }: Environment): boolean {
  return list !== undefined && tasksPerNode(list).every(({ tasks }) => tasks === 1);
}

/** The first host of Slurm's compressed list: `node[003-005,9],other` names node003. */
export function firstHost(nodes: string): string {
  const match = /^([\w.-]+)(?:\[(\d+)[\d,-]*\]([\w.-]*))?(?:,|$)/.exec(nodes);
  if (match !== null) return `${match[1]}${match[2] ?? ""}${match[3] ?? ""}`;
  throw problem(
    `Slurm's list of nodes is ${shown(nodes)}`,
    'names such as "node[003-005,9],other"',
  );
}
