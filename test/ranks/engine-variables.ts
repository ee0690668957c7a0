// The variables that each engine sets, exactly as its sources set them.
import * as kubernetes from "../support/kubernetes.js";

export type Variables = Record<string, string>;

/** `srun -N2 --ntasks-per-node=2`: task 3, the second on the second node. */
export const srun: Variables = {
  ...{ SLURM_JOB_ID: "77", SLURM_JOBID: "77", SLURM_STEP_ID: "0", SLURM_STEPID: "0" },
  ...{ SLURM_PROCID: "3", SLURM_LOCALID: "1", SLURM_NODEID: "1" },
  ...{ SLURM_NTASKS: "4", SLURM_NPROCS: "4", SLURM_NNODES: "2", SLURM_JOB_NUM_NODES: "2" },
  ...{ SLURM_STEP_NUM_TASKS: "4", SLURM_STEP_NUM_NODES: "2", SLURM_STEP_TASKS_PER_NODE: "2(x2)" },
  ...{ SLURM_STEP_NODELIST: "n[1-2]", SLURM_JOB_NODELIST: "n[1-2]", SLURM_NODELIST: "n[1-2]" },
};
/** `srun -N2 --ntasks-per-node=1` */
export const srunANode: Variables = {
  ...srun,
  ...{ SLURM_PROCID: "1", SLURM_LOCALID: "0", SLURM_NTASKS: "2", SLURM_NPROCS: "2" },
  ...{ SLURM_STEP_NUM_TASKS: "2", SLURM_STEP_TASKS_PER_NODE: "1(x2)" },
};
/** A batch script of `sbatch -N2 -n4`, which srun did not start. */
export const batch: Variables = {
  ...{ SLURM_JOB_ID: "77", SLURM_PROCID: "0", SLURM_LOCALID: "0", SLURM_NODEID: "0" },
  ...{ SLURM_NTASKS: "4", SLURM_NPROCS: "4", SLURM_NNODES: "2", SLURM_JOB_NUM_NODES: "2" },
  ...{ SLURM_TASKS_PER_NODE: "2(x2)", SLURM_JOB_NODELIST: "n[1-2]", SLURM_NODELIST: "n[1-2]" },
};
/** The shell that salloc opens where LaunchParameters has use_interactive_step. */
export const interactive: Variables = {
  ...batch,
  ...{ SLURM_STEP_ID: "4294967290", SLURM_STEP_NUM_TASKS: "1", SLURM_STEP_NODELIST: "n1" },
  ...{ SLURM_STEP_TASKS_PER_NODE: "1" },
};
/** stas00/ml-engineering's srun-launcher.slurm: WORLD_SIZE and MASTER_* before srun, the others in it. */
export const exported: Variables = { MASTER_ADDR: "n1", MASTER_PORT: "6000", WORLD_SIZE: "4" };
export const srunScript: Variables = { ...srun, ...exported, RANK: "3", LOCAL_RANK: "1" };

export const torchrun: Variables = {
  ...{ RANK: "3", WORLD_SIZE: "4", LOCAL_RANK: "1", LOCAL_WORLD_SIZE: "2" },
  ...{ GROUP_RANK: "1", GROUP_WORLD_SIZE: "2", ROLE_RANK: "3", ROLE_WORLD_SIZE: "4" },
  ...{ ROLE_NAME: "default", MASTER_ADDR: "n1", MASTER_PORT: "41017", OMP_NUM_THREADS: "1" },
  ...{ TORCHELASTIC_RUN_ID: "j1", TORCHELASTIC_USE_AGENT_STORE: "False" },
  ...{ TORCHELASTIC_RESTART_COUNT: "0", TORCHELASTIC_MAX_RESTARTS: "0" },
};
export const openmpi: Variables = {
  ...{ OMPI_COMM_WORLD_RANK: "3", OMPI_COMM_WORLD_SIZE: "4", OMPI_UNIVERSE_SIZE: "4" },
  ...{ OMPI_COMM_WORLD_LOCAL_RANK: "1", OMPI_COMM_WORLD_LOCAL_SIZE: "2" },
  ...{ OMPI_COMM_WORLD_NODE_RANK: "1", PMIX_RANK: "3", PMIX_NAMESPACE: "1279524865" },
};
export const hydra: Variables = {
  ...{ PMI_RANK: "3", PMI_SIZE: "4", PMI_FD: "8", MPI_LOCALRANKID: "1", MPI_LOCALNRANKS: "2" },
  ...{ HYDI_CONTROL_FD: "7", MPIR_CVAR_CH3_INTERFACE_HOSTNAME: "n2" },
};
export const pals: Variables = {
  ...{ PMI_RANK: "3", PMI_SIZE: "4", PMI_LOCAL_RANK: "1", PMI_LOCAL_SIZE: "2" },
  ...{ PALS_RANKID: "3", PALS_LOCAL_RANKID: "1", PALS_LOCAL_SIZE: "2", PALS_NODEID: "1" },
  ...{ PALS_APID: "0b5c3f4e" },
};
export const flux: Variables = {
  ...{ FLUX_TASK_RANK: "3", FLUX_TASK_LOCAL_ID: "1", FLUX_JOB_SIZE: "4", FLUX_JOB_NNODES: "2" },
  ...{ FLUX_JOB_ID: "106300440576", PMI_RANK: "3", PMI_SIZE: "4", PMI_FD: "10" },
};
export const master: Variables = { MASTER_ADDR: "n1", MASTER_PORT: "29500" };

const job = { name: "run", pods: 4, processes: 8 };
/** A pod of Kubeflow Trainer v2's TrainJob, with nothing else. */
export const trainJob: Variables = {
  ...kubernetes.trainJob(3, job),
  KUBERNETES_SERVICE_HOST: "10.96.0.1",
};
/** A pod of training-operator v1's PyTorchJob with nprocPerNode. */
export const pytorchJob: Variables = kubernetes.pyTorchJob(3, job);
export const pytorchJobOfOne: Variables = kubernetes.pyTorchJob(3, { ...job, processes: 1 });
