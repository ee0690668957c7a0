// Reads what this process is in a run: one of its ranks, the one process of a node that is to start
// ranks, or alone.
import { OnehourError } from "../errors.js";
import { type Environment, mostRanks } from "../system/variables.js";
import { plural, shown } from "../text/words.js";
import { type Engine, engineOf, type RendezvousAddress, type Source, trainJob } from "./engines.js";
import { isOneTaskANode, isTask, noteOfShell, tasksOnThisNode, withStepTasks } from "./slurm.js";
import { advice, problem, read } from "./variables.js";

export type { RendezvousAddress } from "./engines.js";

/** The place of one rank. */
interface Rank {
  level: "rank";
  /** From 0 to `worldSize` − 1. */
  rank: number;
  worldSize: number;
  /** The rank among the processes of this machine. */
  localRank: number;
  /** Undefined where the engine does not say, so that only the ranks can tell when they meet. */
  localWorldSize: number | undefined;
  /** Which engine's variables were found. */
  source: Source;
  /** What a user may not expect of this place. */
  note?: string;
  /** Absent in a world of one. */
  rendezvous?: RendezvousAddress;
}

/** The place of a process that is to start the ranks of its node, one of `nodes`. */
interface Node {
  level: "node";
  nodes: number;
  /** From 0 to `nodes` − 1. */
  nodeRank: number;
  /** Undefined: one a GPU, or 1. */
  workersPerNode?: number;
  /** Absent for one node. */
  rendezvous?: RendezvousAddress;
  source: Source;
  note?: string;
}

/** A process that nothing started as one of several: its run is its own. */
interface Alone {
  level: "alone";
  note?: string;
}

export type Place = Rank | Node | Alone;

/** What flags say of the place; they override the environment. */
export interface PlaceOptions {
  /** N machines; 1 makes this process alone whatever its engine says. */
  nodes?: number | undefined;
  nodeRank?: number | undefined;
  rendezvous?: Pick<RendezvousAddress, "host" | "port"> | undefined;
  workersPerNode?: number | undefined;
  /** Counts the GPUs that workers of this node can have; asked only where it matters. */
  gpus?: () => number;
}

/**
 * Reads the place of this process from the variables of the engine that started it (`engines.ts`), the
 * innermost of several, and from flags. MASTER_ADDR and MASTER_PORT name the meeting point for all of
 * them; where an elastic agent of torchrun already listens there (TORCHELASTIC_USE_AGENT_STORE=True) the
 * ranks meet one port higher.
 *
 * @throws OnehourError ERR_ONEHOUR_ENVIRONMENT when a variable is missing or no sensible number.
 */
export function readPlace(given: Environment = process.env, options: PlaceOptions = {}): Place {
  const env = withStepTasks(given);
  return options.nodes === undefined ? placeOf(env, options) : askedPlace(env, options);
}

function placeOf(env: Environment, options: PlaceOptions): Place {
  const engine = engineOf(env);
  if (engine !== undefined && (engine.source !== "slurm" || isTask(env)))
    return podOf(env, engine, options) ?? taskOf(env, engine, options) ?? rankOf(env, engine);
  return trainJobOf(env, options) ?? indexedJobOf(env) ?? alone(noteOfShell(env));
}

const alone = (note?: string): Alone => ({
  level: "alone",
  ...(note === undefined ? {} : { note }),
});

function rankOf(env: Environment, engine: Engine, options: PlaceOptions = {}): Rank {
  const worldSize = read(env, engine.worldSize, 1);
  const rank = read(env, engine.rank, 0, worldSize - 1);
  const localRank = localRankOf(env, engine, worldSize);
  const localWorldSize = localSizeOf(env, engine, localRank, worldSize);
  const place: Rank = {
    ...{ level: "rank", source: engine.source },
    ...{ rank, worldSize, localRank, localWorldSize },
  };
  if (worldSize > 1) place.rendezvous = meetingPoint(env, engine, options);
  return place;
}

/** Without a local rank each machine (or pod) holds one process, unless it is a task of srun's. */
function localRankOf(env: Environment, engine: Engine, worldSize = mostRanks): number {
  const names = isStep(env, engine) ? [...engine.localRank, "SLURM_LOCALID"] : engine.localRank;
  const name = names.find((name) => env[name] !== undefined);
  return name === undefined ? 0 : read(env, name, 0, worldSize - 1);
}

function localSizeOf(
  env: Environment,
  engine: Engine,
  localRank: number,
  worldSize: number,
): number | undefined {
  const name = engine.localWorldSize.find((name) => env[name] !== undefined);
  if (name !== undefined) return read(env, name, localRank + 1);
  if (worldSize === 1) return 1;
  const tasks = isStep(env, engine) ? tasksOnThisNode(env) : undefined;
  if (tasks !== undefined)
    return read(
      { SLURM_STEP_TASKS_PER_NODE: `${tasks}` },
      "SLURM_STEP_TASKS_PER_NODE",
      localRank + 1,
    );
  const isPod = engine.source === "torchrun" && env.LOCAL_RANK === undefined;
  return isPod ? 1 : undefined;
}

/** Whether the ranks are the tasks of one step of srun's, as where a script exports RANK and WORLD_SIZE. */
function isStep(env: Environment, { source, worldSize }: Engine): boolean {
  if (!isTask(env)) return false;
  if (source === "slurm") return true;
  const isScript = source === "torchrun" && env.TORCHELASTIC_RUN_ID === undefined;
  return isScript && env[worldSize] === env.SLURM_STEP_NUM_TASKS;
}

/** A pod of a PyTorchJob that is to start several processes: RANK is the pod's index there. */
function podOf(env: Environment, engine: Engine, options: PlaceOptions): Node | undefined {
  const { PET_NPROC_PER_NODE: processes } = env;
  if (engine.source !== "torchrun" || env.LOCAL_RANK !== undefined) return undefined;
  const fixed = processes === undefined ? undefined : processesOf(env);
  const several = fixed ?? (processes === undefined ? 1 : (options.gpus?.() ?? 1));
  const workersPerNode = options.workersPerNode ?? fixed;
  if (processes === undefined || (options.workersPerNode ?? several) === 1) return undefined;
  const worldSize = read(env, engine.worldSize, 1);
  // Where the number of processes is left to the pod, the operator takes it for 1.
  const nodes = worldSize / (fixed ?? 1);
  if (!Number.isInteger(nodes))
    throw problem(
      `WORLD_SIZE is ${worldSize} and PET_NPROC_PER_NODE ${processes}`,
      "a number of ranks that this number of processes a pod divides",
    );
  const nodeRank = read(env, engine.rank, 0, nodes - 1);
  return nodeOf({ nodes, nodeRank, workersPerNode, source: "kubeflow" }, () =>
    meetingPoint(env, engine, options),
  );
}

/** A task of srun's that has a node to itself, and several GPUs on it. */
function taskOf(env: Environment, engine: Engine, options: PlaceOptions): Node | undefined {
  if (engine.source !== "slurm" || !isOneTaskANode(env)) return undefined;
  const nodes = read(env, engine.worldSize, 1);
  const { workersPerNode } = options;
  if (nodes === 1 || (workersPerNode ?? options.gpus?.() ?? 1) < 2) return undefined;
  const nodeRank = read(env, engine.rank, 0, nodes - 1);
  return nodeOf({ nodes, nodeRank, workersPerNode, source: "slurm" }, () =>
    meetingPoint(env, engine, options),
  );
}

/** A pod of Kubeflow's TrainJob, which leaves all of its ranks to a launcher in the pod. */
function trainJobOf(env: Environment, options: PlaceOptions): Place | undefined {
  if (!trainJob.signs.every((name) => env[name] !== undefined)) return undefined;
  const nodes = read(env, trainJob.worldSize, 1);
  const nodeRank = read(env, trainJob.rank, 0, nodes - 1);
  const workersPerNode = options.workersPerNode ?? processesOf(env);
  if (nodes === 1 && workersPerNode === undefined) return alone();
  return nodeOf({ nodes, nodeRank, workersPerNode, source: "kubeflow" }, () =>
    meetingPoint(env, trainJob, options),
  );
}

/** PET_NPROC_PER_NODE; undefined where it leaves the number to the pod. */
function processesOf(env: Environment): number | undefined {
  const { PET_NPROC_PER_NODE: text } = env;
  const open = text === undefined || ["auto", "gpu", "cpu"].includes(text);
  return open ? undefined : read(env, "PET_NPROC_PER_NODE", 1);
}

/** A pod of an indexed Job or a JobSet, whose variables give no more than its number. */
function indexedJobOf(env: Environment): Place | undefined {
  if (env.JOB_COMPLETION_INDEX === undefined) return undefined;
  const index = read(env, "JOB_COMPLETION_INDEX", 0);
  if (index === 0) return alone();
  throw new OnehourError(
    "ERR_ONEHOUR_ENVIRONMENT",
    `JOB_COMPLETION_INDEX is ${index}, so this is one of several pods, but nothing says how many they are ` +
      "or where they meet. For one run in all of them give --nodes N and --rendezvous host:port, with " +
      "pod 0's name as host; for a run in this pod alone, --nodes 1",
  );
}

function nodeOf(
  {
    workersPerNode,
    ...node
  }: Omit<Node, "level" | "workersPerNode"> & {
    workersPerNode: number | undefined;
  },
  meeting: () => RendezvousAddress,
): Node {
  return {
    level: "node",
    ...node,
    ...(workersPerNode === undefined ? {} : { workersPerNode }),
    ...(node.nodes > 1 ? { rendezvous: meeting() } : {}),
  };
}

/** The place that `--nodes` gives; what other flags leave out is the environment's. */
function askedPlace(env: Environment, options: PlaceOptions): Place {
  const { nodes = 1, workersPerNode } = options;
  if (nodes === 1)
    return workersPerNode === undefined
      ? alone()
      : nodeOf({ nodes, nodeRank: 0, workersPerNode, source: "single" }, unreachable);
  const engine = engineOf(env) ?? trainJob;
  const name = ["PET_NODE_RANK", "JOB_COMPLETION_INDEX"].find((name) => env[name] !== undefined);
  const ranks = engine !== trainJob && (engine.source !== "slurm" || isTask(env));
  const nodeRank = options.nodeRank ?? (ranks ? soleRank(env, engine, nodes) : undefined);
  const source =
    name === "JOB_COMPLETION_INDEX"
      ? "job"
      : ranks || name !== undefined
        ? engine.source
        : "single";
  if (nodeRank === undefined && name === undefined)
    throw new OnehourError(
      "ERR_ONEHOUR_ENVIRONMENT",
      `nothing says which of the ${nodes} nodes this is. Give --node-rank, from 0 to ${nodes - 1}, or start ` +
        "the command on all of them by srun or mpirun, once a node",
    );
  return nodeOf(
    {
      ...{ nodes, workersPerNode: workersPerNode ?? processesOf(env), source },
      nodeRank: nodeRank ?? read(env, name!, 0, nodes - 1),
    },
    () => meetingPoint(env, engine, options),
  );
}

/** The rank of a process that its engine started once a node. */
function soleRank(env: Environment, engine: Engine, nodes: number): number {
  const worldSize = read(env, engine.worldSize, 1);
  const here = localSizeOf(env, engine, localRankOf(env, engine), worldSize) ?? 1;
  if (worldSize === nodes && here === 1) return read(env, engine.rank, 0, nodes - 1);
  throw new OnehourError(
    "ERR_ONEHOUR_ENVIRONMENT",
    `--nodes is ${nodes}, but ${engine.worldSize} says that ${plural(worldSize, "process")} were started, ` +
      `${here} of them here. Start one a node, or leave --nodes out`,
  );
}

function unreachable(): never {
  throw new Error("one node meets nobody");
}

/** The rank among the processes of this machine, and who gave it; needs no meeting point. */
export function readLocalRank(env: Environment = process.env): Pick<Rank, "localRank" | "source"> {
  const engine = engineOf(env);
  return engine === undefined
    ? { localRank: 0, source: "single" }
    : { localRank: localRankOf(env, engine), source: engine.source };
}

/**
 * The rank that this process is for `connect()`; a node with one process is its rank, and a process that
 * is alone is a world of one.
 *
 * @throws OnehourError ERR_ONEHOUR_ENVIRONMENT as `readPlace`, and where this process is to start several
 * ranks.
 */
export function readEnvironment(env: Environment = process.env): Omit<Rank, "level"> {
  const place = readPlace(env);
  if (place.level === "rank") return place;
  const { note } = place;
  const base = { localRank: 0, localWorldSize: 1, ...(note === undefined ? {} : { note }) };
  if (place.level === "alone") return { ...base, rank: 0, worldSize: 1, source: "single" };
  const { nodes, nodeRank, workersPerNode = 1, rendezvous, source } = place;
  if (workersPerNode === 1) {
    const meeting = rendezvous === undefined ? {} : { rendezvous };
    return { ...base, rank: nodeRank, worldSize: nodes, source, ...meeting };
  }
  throw new OnehourError(
    "ERR_ONEHOUR_ENVIRONMENT",
    `this process is to start the ${workersPerNode} ranks of its node (PET_NPROC_PER_NODE) and is none of ` +
      "them. Start the script by `onehour launch`",
  );
}

function meetingPoint(env: Environment, engine: Engine, options: PlaceOptions): RendezvousAddress {
  const token = env.ONEHOUR_TOKEN;
  const withToken = (address: RendezvousAddress): RendezvousAddress =>
    token === undefined || token === "" ? address : { ...address, token };

  if (options.rendezvous !== undefined) return withToken({ ...options.rendezvous });
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
  const address = engine.meeting?.(env);
  if (address === undefined)
    throw new OnehourError(
      "ERR_ONEHOUR_ENVIRONMENT",
      `${engine.rank} says that this is one of several processes, but nothing says where they ` +
        `meet. Set MASTER_ADDR to the host of rank 0 and MASTER_PORT to a free port on it; ${advice}`,
    );
  return withToken(address);
}
