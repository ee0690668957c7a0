// The engines that start ranks, one entry each: how it is recognised and what it calls things.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Environment } from "../system/variables.js";
import { type Address, bare } from "./addresses.js";
import { firstHost, isTask } from "./slurm.js";
import { read } from "./variables.js";

/** Where the ranks of a run meet, and the secret that admits them. */
export interface RendezvousAddress extends Address {
  /** Shared secret; without one the run's public identity takes its place (see SECURITY.md). */
  token?: string;
}

/** Who started a process: `single` is nobody, `kubeflow` and `job` start one process a pod. */
export type Source =
  | "onehour"
  | "torchrun"
  | "openmpi"
  | "hydra"
  | "slurm"
  | "pmi"
  | "flux"
  | "kubeflow"
  | "job"
  | "single";

/** An engine that gives each process a rank. */
export interface Engine {
  source: Source;
  /** All of them set means that this engine started the process. */
  signs: readonly string[];
  rank: string;
  worldSize: string;
  /** The first of them that is set counts, here and below. */
  localRank: readonly string[];
  localWorldSize: readonly string[];
  /** Where the ranks meet when MASTER_ADDR and MASTER_PORT do not say. */
  meeting?(env: Environment): RendezvousAddress | undefined;
  /** How the user hands variables to all ranks, the end of a sentence. */
  handOver?: string;
  /** What gives each rank more processors, CORES being how many it could have. */
  moreCores?: string;
}

const palsLocalRank = ["PMI_LOCAL_RANK", "PALS_LOCAL_RANKID"];
const palsLocalSize = ["PMI_LOCAL_SIZE", "PALS_LOCAL_SIZE"];

function palsMeeting(env: Environment): RendezvousAddress | undefined {
  const here = env.PMI_LOCAL_SIZE ?? env.PALS_LOCAL_SIZE;
  return onThisMachine(here === env.PMI_SIZE, env.PALS_APID ?? env.PMI_JOBID);
}

// In order of precedence: engines that others start come first, so that the inner one of two counts.
const engines: readonly Engine[] = [
  {
    source: "onehour",
    signs: ["ONEHOUR_RANK"],
    rank: "ONEHOUR_RANK",
    worldSize: "ONEHOUR_WORLD_SIZE",
    localRank: ["ONEHOUR_LOCAL_RANK"],
    localWorldSize: ["ONEHOUR_LOCAL_WORLD_SIZE"],
  },
  {
    // A script under srun may set them too, and so does Kubeflow's PyTorchJob, without LOCAL_RANK.
    source: "torchrun",
    signs: ["RANK", "WORLD_SIZE"],
    rank: "RANK",
    worldSize: "WORLD_SIZE",
    localRank: ["LOCAL_RANK"],
    localWorldSize: ["LOCAL_WORLD_SIZE"],
  },
  {
    source: "openmpi",
    signs: ["OMPI_COMM_WORLD_RANK"],
    rank: "OMPI_COMM_WORLD_RANK",
    worldSize: "OMPI_COMM_WORLD_SIZE",
    localRank: ["OMPI_COMM_WORLD_LOCAL_RANK"],
    localWorldSize: ["OMPI_COMM_WORLD_LOCAL_SIZE"],
    meeting: (env) =>
      onThisMachine(
        env.OMPI_COMM_WORLD_SIZE === env.OMPI_COMM_WORLD_LOCAL_SIZE,
        env.PMIX_NAMESPACE ?? env.OMPI_MCA_ess_base_jobid,
      ),
    handOver: ": mpirun -x MASTER_ADDR=HOST -x MASTER_PORT=29500 …",
    moreCores: "mpirun --bind-to none",
  },
  {
    // MPICH's and Intel's mpiexec. In a job of Slurm's srun starts its proxies, one a node.
    source: "hydra",
    signs: ["PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"],
    rank: "PMI_RANK",
    worldSize: "PMI_SIZE",
    localRank: ["MPI_LOCALRANKID"],
    localWorldSize: ["MPI_LOCALNRANKS"],
    meeting: (env) =>
      onThisMachine(
        env.PMI_SIZE === env.MPI_LOCALNRANKS,
        env.PMI_JOBID ?? ancestor("hydra_pmi_proxy"),
      ),
    handOver: ": mpiexec -genv MASTER_ADDR HOST -genv MASTER_PORT 29500 …",
    moreCores: "mpiexec -bind-to none (Intel MPI: -genv I_MPI_PIN 0)",
  },
  {
    source: "flux",
    signs: ["FLUX_TASK_RANK"],
    rank: "FLUX_TASK_RANK",
    worldSize: "FLUX_JOB_SIZE",
    localRank: ["FLUX_TASK_LOCAL_ID"],
    localWorldSize: [],
    meeting: ({ FLUX_JOB_SIZE, FLUX_JOB_NNODES, FLUX_JOB_ID }) =>
      onThisMachine(FLUX_JOB_NNODES === "1", FLUX_JOB_ID && `flux ${FLUX_JOB_ID} ${FLUX_JOB_SIZE}`),
    handOver: ": flux run --env=MASTER_ADDR=HOST --env=MASTER_PORT=29500 …",
    moreCores: "flux run --cores-per-task=CORES",
  },
  {
    source: "slurm",
    signs: ["SLURM_STEP_ID", "SLURM_PROCID"],
    rank: "SLURM_PROCID",
    worldSize: "SLURM_STEP_NUM_TASKS",
    localRank: ["SLURM_LOCALID"],
    localWorldSize: [],
    meeting: (env) => {
      const nodes = env.SLURM_STEP_NODELIST ?? env.SLURM_JOB_NODELIST ?? env.SLURM_NODELIST;
      if (nodes === undefined) return undefined;
      const port = derivedPort(`slurm ${env.SLURM_JOB_ID}.${env.SLURM_STEP_ID}`);
      return { host: firstHost(nodes), port };
    },
    moreCores: "srun --cpus-per-task=CORES",
  },
  {
    source: "pmi",
    signs: ["PMI_RANK", "PMI_SIZE"],
    ...{ rank: "PMI_RANK", worldSize: "PMI_SIZE" },
    ...{ localRank: palsLocalRank, localWorldSize: palsLocalSize },
    meeting: palsMeeting,
    moreCores: "mpiexec --cpu-bind none",
  },
  {
    // Cray's PALS with PMIx: the number of ranks has no variable, so the user sets PMI's.
    source: "pmi",
    signs: ["PALS_RANKID"],
    ...{ rank: "PALS_RANKID", worldSize: "PMI_SIZE" },
    ...{ localRank: palsLocalRank, localWorldSize: palsLocalSize },
    meeting: palsMeeting,
    moreCores: "mpiexec --cpu-bind none",
  },
];

/** Kubeflow's TrainJob, which gives numbers to pods and leaves all ranks to a launcher in the pod. */
export const trainJob: Engine = {
  source: "kubeflow",
  signs: ["PET_NNODES", "PET_NODE_RANK"],
  rank: "PET_NODE_RANK",
  worldSize: "PET_NNODES",
  localRank: [],
  localWorldSize: [],
  meeting: (env) =>
    env.PET_MASTER_ADDR
      ? { host: bare(env.PET_MASTER_ADDR), port: read(env, "PET_MASTER_PORT", 1, 65_535) }
      : undefined,
};

/** An indexed Job of Kubernetes', of which each pod of a JobSet is one: it gives the pod's number only. */
export const indexedJob: Engine = {
  source: "job",
  signs: ["JOB_COMPLETION_INDEX"],
  rank: "JOB_COMPLETION_INDEX",
  worldSize: "",
  localRank: [],
  localWorldSize: [],
  handOver: ", or give --rendezvous host:port with pod 0's name",
};

/** Nobody, where flags give the place. */
export const byHand: Engine = {
  ...indexedJob,
  ...{ source: "single", signs: [], rank: "--nodes" },
  handOver: ", or give --rendezvous host:port",
};

/** The engine that gave this pod a number, and its processes no ranks. */
export function podsOf(env: Environment): Engine | undefined {
  return [trainJob, indexedJob].find(({ signs }) => isSigned(env, signs));
}

const isSigned = (env: Environment, signs: readonly string[]) =>
  signs.every((name) => env[name] !== undefined);

/** The engine that gave this process its rank; a shell of Slurm's that srun did not start has none. */
export function engineOf(env: Environment): Engine | undefined {
  return engines.find(
    ({ source, signs }) => isSigned(env, signs) && (source !== "slurm" || isTask(env)),
  );
}

/** The nearest ancestor that runs this program, as text that no other process has; undefined without one. */
function ancestor(program: string): string | undefined {
  try {
    for (let pid = process.ppid; pid > 1; ) {
      const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
      const [, name, rest = ""] = /\((.*)\) (.*)/s.exec(stat) ?? [];
      const fields = rest.split(" "); // from the third of the file's, which proc(5) lists
      if (name === program) return `${program} ${pid} ${fields[19]}`;
      pid = Number(fields[1]);
    }
  } catch {
    // A process that ended, or that is not shown.
  }
  return undefined;
}

/** Where engines that say nothing of it meet if all ranks are on this machine. */
function onThisMachine(
  allLocal: boolean,
  identity: string | undefined,
): RendezvousAddress | undefined {
  return allLocal && identity !== undefined
    ? { host: "127.0.0.1", port: derivedPort(identity) }
    : undefined;
}

/** A port that all ranks of a job compute alike, below the range that systems hand out. */
function derivedPort(identity: string): number {
  return 20_000 + (createHash("sha256").update(identity).digest().readUInt32BE(0) % 10_000);
}
