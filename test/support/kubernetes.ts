// What Kubernetes' controllers set in the container of each pod of a job, read in their sources.

/** A job of so many pods; `processes` is what its manifest says of each. */
interface Job {
  name: string;
  pods: number;
  processes: number;
}

/**
 * Kubeflow Trainer v2, a TrainJob (kubeflow/trainer, pkg/runtime/framework/plugins/torch/torch.go).
 * Its pods are those of an indexed Job.
 */
export const trainJob = (pod: number, { name, pods, processes }: Job) => ({
  PET_NNODES: `${pods}`,
  PET_NPROC_PER_NODE: `${processes}`,
  PET_NODE_RANK: `${pod}`,
  PET_MASTER_ADDR: `${name}-node-0-0.${name}`,
  PET_MASTER_PORT: "29500",
  ...indexedJob(pod),
});

/**
 * The first version's PyTorchJob with nprocPerNode (kubeflow/training-operator,
 * pkg/controller.v1/pytorch/envvar.go): RANK is that of the pod, WORLD_SIZE counts processes.
 */
export const pyTorchJob = (pod: number, { name, pods, processes }: Job) => ({
  PYTHONUNBUFFERED: "1",
  MASTER_PORT: "23456",
  PET_MASTER_PORT: "23456",
  MASTER_ADDR: `${name}-master-0`,
  PET_MASTER_ADDR: `${name}-master-0`,
  WORLD_SIZE: `${pods * processes}`,
  RANK: `${pod}`,
  PET_NODE_RANK: `${pod}`,
  PET_NPROC_PER_NODE: `${processes}`,
  PET_NNODES: `${pods}`,
});

/** An indexed Job, or a JobSet of one (kubernetes/kubernetes, pkg/controller/job/indexed_job_utils.go). */
export const indexedJob = (pod: number) => ({ JOB_COMPLETION_INDEX: `${pod}` });
