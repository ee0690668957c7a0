// Reads which rank this process is, from the variables that launchers set.
import { createHash } from "node:crypto";
import { OnehourError } from "../errors.js";
import {
  type Environment,
  mostRanks,
  readNumber,
  whole,
  wrongVariable,
} from "../system/variables.js";
import { shown } from "../text/words.js";

/** Where the ranks of a run meet, and the secret that admits them. */
export interface RendezvousAddress {
  host: string;
  port: number;
  /** Shared secret; without one the run's public identity takes its place (see SECURITY.md). */
  token?: string;
}

/** The place of this process in a run. */
interface Rank {
  /** From 0 to `worldSize` − 1. */
  rank: number;
  worldSize: number;
  /** The rank among the processes of this machine. */
  localRank: number;
  localWorldSize: number;
  /** Which launcher's variables were found. */
  source: "onehour" | "torchrun" | "openmpi" | "slurm" | "pmi" | "single";
  /** What a user may not expect of this place. */
  note?: string;
  /** Absent in a world of one. */
  rendezvous?: RendezvousAddress;
}

/** A launcher's dialect: how it is recognised and what it calls things. */
interface Dialect {
  source: Rank["source"];
  /** All of them set means that this launcher started the process. */
  signs: readonly string[];
  rank: string;
  worldSize: string;
  localRank: string;
  localWorldSize: string | ((env: Environment) => string | undefined);
  /** Where the ranks meet when MASTER_ADDR and MASTER_PORT do not say. */
  meeting(env: Environment): RendezvousAddress | undefined;
}

// In order of precedence: the first one whose signs are all set counts.
const dialects: readonly Dialect[] = [
  {
    source: "onehour",
    signs: ["ONEHOUR_RANK"],
    rank: "ONEHOUR_RANK",
    worldSize: "ONEHOUR_WORLD_SIZE",
    localRank: "ONEHOUR_LOCAL_RANK",
    localWorldSize: "ONEHOUR_LOCAL_WORLD_SIZE",
    meeting: () => undefined,
  },
  {
    source: "torchrun",
    signs: ["RANK", "WORLD_SIZE"],
    rank: "RANK",
    worldSize: "WORLD_SIZE",
    localRank: "LOCAL_RANK",
    localWorldSize: "LOCAL_WORLD_SIZE",
    meeting: () => undefined,
  },
  {
    source: "openmpi",
    signs: ["OMPI_COMM_WORLD_RANK"],
    rank: "OMPI_COMM_WORLD_RANK",
    worldSize: "OMPI_COMM_WORLD_SIZE",
    localRank: "OMPI_COMM_WORLD_LOCAL_RANK",
    localWorldSize: "OMPI_COMM_WORLD_LOCAL_SIZE",
    meeting: (env) =>
      onThisMachine(
        env.OMPI_COMM_WORLD_SIZE === env.OMPI_COMM_WORLD_LOCAL_SIZE,
        env.PMIX_NAMESPACE ?? env.OMPI_MCA_ess_base_jobid,
      ),
  },
  {
    source: "slurm",
    signs: ["SLURM_STEP_ID", "SLURM_PROCID"],
    rank: "SLURM_PROCID",
    worldSize: "SLURM_STEP_NUM_TASKS",
    localRank: "SLURM_LOCALID",
    localWorldSize: tasksOnThisNode,
    meeting: (env) => {
      const nodes = env.SLURM_STEP_NODELIST ?? env.SLURM_JOB_NODELIST ?? env.SLURM_NODELIST;
      if (nodes === undefined) return undefined;
      const port = derivedPort(`slurm ${env.SLURM_JOB_ID}.${env.SLURM_STEP_ID}`);
      return { host: firstHost(nodes), port };
    },
  },
  {
    source: "pmi",
    signs: ["PMI_RANK", "PMI_SIZE"],
    rank: "PMI_RANK",
    worldSize: "PMI_SIZE",
    localRank: "MPI_LOCALRANKID",
    localWorldSize: "MPI_LOCALNRANKS",
    meeting: (env) =>
      onThisMachine(
        env.MPI_LOCALNRANKS !== undefined && env.PMI_SIZE === env.MPI_LOCALNRANKS,
        env.PMI_JOBID ?? env.PMI_PORT,
      ),
  },
];

function dialectOf(env: Environment): Dialect | undefined {
  return dialects.find(({ signs }) => signs.every((name) => env[name] !== undefined));
}

/** Without a local rank each machine (or pod) holds one process. */
function localRankOf(env: Environment, { localRank }: Dialect, worldSize = mostRanks): number {
  return env[localRank] === undefined ? 0 : read(env, localRank, 0, worldSize - 1);
}

/** The rank among the processes of this machine, and who gave it; needs no meeting point. */
export function readLocalRank(env: Environment = process.env): Pick<Rank, "localRank" | "source"> {
  const dialect = dialectOf(env);
  return dialect === undefined
    ? { localRank: 0, source: "single" }
    : { localRank: localRankOf(env, dialect), source: dialect.source };
}

const alone: Rank = { rank: 0, worldSize: 1, localRank: 0, localWorldSize: 1, source: "single" };

/**
 * Reads rank, world size and meeting point from the environment.
 *
 * Own variables come before torchrun's (RANK, WORLD_SIZE, …), Open MPI's (OMPI_COMM_WORLD_*), those
 * of a Slurm step and PMI's; without any the process is a world of one. MASTER_ADDR and MASTER_PORT
 * name the meeting point for all of them; where an elastic agent of torchrun already listens there
 * (TORCHELASTIC_USE_AGENT_STORE=True) the ranks meet one port higher.
 *
 * @throws OnehourError ERR_ONEHOUR_ENVIRONMENT when a variable is missing or no sensible number.
 */
export function readEnvironment(given: Environment = process.env): Rank {
  const env = ofStep(given);
  const dialect = dialectOf(env);
  if (dialect === undefined) return { ...alone };
  const worldSize = read(env, dialect.worldSize, 1, mostRanks);
  const rank = read(env, dialect.rank, 0, worldSize - 1);
  const localRank = localRankOf(env, dialect, worldSize);
  const { localWorldSize: size } = dialect;
  const [name, text] =
    typeof size === "string" ? [size, env[size]] : [dialect.localRank, size(env)];
  const localWorldSize =
    text === undefined ? localRank + 1 : read({ [name]: text }, name, localRank + 1, mostRanks);
  const result: Rank = { rank, worldSize, localRank, localWorldSize, source: dialect.source };
  if (worldSize > 1) result.rendezvous = meetingPoint(env, dialect);
  const { SLURM_NTASKS: tasks } = env;
  if (dialect.source === "slurm" && worldSize === 1 && /^\d+$/.test(tasks ?? "") && tasks !== "1")
    result.note =
      `Slurm's job has ${tasks} tasks, but this step has one: it runs as a world of one, on this node. ` +
      "To run in all tasks, put srun before the command";
  return result;
}

const lastStep = 0xfffffff0; // SLURM_MAX_NORMAL_STEP_ID of slurm.h

/**
 * A step's own number of tasks counts, not its job's; Slurm before 20.11 gave only the latter. Steps
 * beyond the last that srun makes (salloc's interactive one, the batch script's) are one task each.
 */
function ofStep(env: Environment): Environment {
  const { SLURM_STEP_ID: step, SLURM_STEP_NUM_TASKS: tasks, SLURM_NTASKS: all } = env;
  const known = tasks ?? (Number(step) > lastStep ? "1" : all);
  return known === undefined ? env : { ...env, SLURM_STEP_NUM_TASKS: known };
}

function meetingPoint(env: Environment, dialect: Dialect): RendezvousAddress {
  const token = env.ONEHOUR_TOKEN;
  const withToken = (address: RendezvousAddress): RendezvousAddress =>
    token === undefined || token === "" ? address : { ...address, token };

  if (env.ONEHOUR_RENDEZVOUS !== undefined) {
    const match = /^(.+):(\d+)$/.exec(env.ONEHOUR_RENDEZVOUS);
    const port = match === null ? 0 : Number(match[2]);
    if (match === null || port < 1 || port > 65_535)
      throw problem(
        `ONEHOUR_RENDEZVOUS is ${shown(env.ONEHOUR_RENDEZVOUS)}`,
        "host:port with a port from 1 to 65535",
      );
    return withToken({ host: match[1]!.replace(/^\[(.*)\]$/, "$1"), port });
  }
  if (env.MASTER_ADDR && env.MASTER_PORT !== undefined) {
    const agentListens = env.TORCHELASTIC_USE_AGENT_STORE === "True";
    const port = read(env, "MASTER_PORT", 1, 65_534) + (agentListens ? 1 : 0);
    return withToken({ host: env.MASTER_ADDR, port });
  }
  const address = dialect.meeting(env);
  if (address === undefined)
    throw new OnehourError(
      "ERR_ONEHOUR_ENVIRONMENT",
      `${dialect.rank} says that this is one of several processes, but nothing says where they ` +
        `meet. Set MASTER_ADDR to the host of rank 0 and MASTER_PORT to a free port on it; ${advice}`,
    );
  return withToken(address);
}

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

/** How many tasks of the step Slurm started here: SLURM_STEP_TASKS_PER_NODE is "2(x3),1". */
function tasksOnThisNode(env: Environment): string | undefined {
  const { SLURM_STEP_TASKS_PER_NODE: list, SLURM_NODEID: node } = env;
  if (list === undefined) return undefined;
  // Nodes of the list before this one.
  let before = node === undefined ? 0 : read(env, "SLURM_NODEID", 0, mostRanks);
  for (const part of list.split(",")) {
    const [, tasks, nodes = "1"] = /^(\d+)(?:\(x(\d+)\))?$/.exec(part) ?? [];
    if (tasks === undefined)
      throw problem(
        `SLURM_STEP_TASKS_PER_NODE is ${shown(list)}`,
        'numbers of tasks such as "2(x3),1"',
      );
    if (before < Number(nodes)) return tasks;
    before -= Number(nodes);
  }
  return undefined;
}

/** The first host of Slurm's compressed list: `node[003-005,9],other` names node003. */
function firstHost(nodes: string): string {
  const match = /^([\w.-]+)(?:\[(\d+)[\d,-]*\]([\w.-]*))?(?:,|$)/.exec(nodes);
  if (match !== null) return `${match[1]}${match[2] ?? ""}${match[3] ?? ""}`;
  throw problem(
    `Slurm's list of nodes is ${shown(nodes)}`,
    'names such as "node[003-005,9],other"',
  );
}

const advice =
  "these variables come from the launcher, and `env | grep -E 'RANK|SIZE|MASTER|SLURM'` shows them";

/** A whole number of a launcher's. */
function read(env: Environment, name: string, least: number, most: number): number {
  return readNumber(env, name, whole(least, most), advice);
}

function problem(text: string, expected: string): OnehourError {
  return wrongVariable(text, expected, advice);
}
