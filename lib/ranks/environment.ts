// Reads what this process is in a run: one of its ranks, the one process of a node that is to start
// ranks, or alone.
import { type Environment, mostRanks } from "../system/variables.js";
import { plural } from "../text/words.js";
import type { Address } from "./addresses.js";
import { requireConsistent } from "./contradictions.js";
import {
  byHand,
  type Engine,
  engineOf,
  indexedJob,
  podsOf,
  type RendezvousAddress,
  type Source,
  trainJob,
} from "./engines.js";
import { meetingPoint } from "./meeting-point.js";
import { isOneTaskANode, isTask, noteOfShell, tasksOnThisNode, withStepTasks } from "./slurm.js";
import { misplaced, problem, read } from "./variables.js";

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
  rendezvous?: Address | undefined;
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
  requireConsistent(env, engine);
  if (engine !== undefined) return nodeOfOne(env, engine, options) ?? rankOf(env, engine, options);
  return trainJobOf(env, options) ?? indexedJobOf(env) ?? alone(noteOfShell(env));
}

const alone = (note?: string): Alone => ({
  level: "alone",
  ...(note === undefined ? {} : { note }),
});

function rankOf(env: Environment, engine: Engine, options: PlaceOptions): Rank | Alone {
  const worldSize = read(env, engine.worldSize, 1);
  const rank = rankIn(env, engine, worldSize);
  const localRank = localRankOf(env, engine, worldSize);
  const localWorldSize = localSizeOf(env, engine, localRank, worldSize);
  if (worldSize === 1) return alone();
  const { workersPerNode } = options;
  if (workersPerNode !== undefined && workersPerNode !== (localWorldSize ?? workersPerNode))
    throw misplaced(
      `--workers-per-node is ${workersPerNode}, but this process is one of ${localWorldSize} ranks that ` +
        `were started on its node (${engine.rank}). Start one process a node, or leave ` +
        "--workers-per-node out to make each process a rank",
    );
  return {
    ...{ level: "rank", source: engine.source },
    ...{ rank, worldSize, localRank, localWorldSize },
    rendezvous: meetingPoint(env, engine, options.rendezvous),
  };
}

function rankIn(env: Environment, { rank, worldSize }: Engine, size: number): number {
  return read(env, rank, 0, size - 1, `${worldSize} is ${env[worldSize]}`);
}

/** Without a local rank each machine (or pod) holds one process, unless it is a task of srun's. */
function localRankOf(env: Environment, engine: Engine, worldSize = mostRanks): number {
  const names = isStep(env, engine) ? [...engine.localRank, "SLURM_LOCALID"] : engine.localRank;
  const name = names.find((name) => env[name] !== undefined);
  return name === undefined ? 0 : read(env, name, 0, worldSize - 1, `of ${worldSize} ranks`);
}

function localSizeOf(
  env: Environment,
  engine: Engine,
  localRank: number,
  worldSize: number,
): number | undefined {
  const name = engine.localWorldSize.find((name) => env[name] !== undefined);
  const reason = `local rank ${localRank} of ${plural(worldSize, "rank")}`;
  if (name !== undefined) return read(env, name, localRank + 1, worldSize, reason);
  if (worldSize === 1) return 1;
  const list = "SLURM_STEP_TASKS_PER_NODE";
  const tasks = isStep(env, engine) ? tasksOnThisNode(env) : undefined;
  if (tasks === undefined) return undefined;
  return read({ [list]: `${tasks}` }, list, localRank + 1, mostRanks, reason);
}

/** Whether the ranks are the tasks of one step of srun's, as where a script exports RANK and WORLD_SIZE. */
function isStep(env: Environment, { source, worldSize }: Engine): boolean {
  if (!isTask(env)) return false;
  if (source === "slurm") return true;
  const isScript = source === "torchrun" && env.TORCHELASTIC_RUN_ID === undefined;
  return isScript && env[worldSize] === env.SLURM_STEP_NUM_TASKS;
}

/** The node of a process that has it to itself and is to start ranks there: several, or as many as was said. */
function nodeOfOne(env: Environment, engine: Engine, options: PlaceOptions): Node | undefined {
  // RANK is the pod's index in a PyTorchJob, whose WORLD_SIZE counts the processes of all pods.
  const pod = isPod(env, engine);
  const fixed = pod ? processesOf(env) : undefined;
  const open = pod ? env.PET_NPROC_PER_NODE !== undefined : engine.source === "slurm";
  const asked = options.workersPerNode ?? fixed;
  if (!isAloneOnNode(env, engine)) return undefined;
  const nodes = read(env, engine.worldSize, 1) / (fixed ?? 1);
  const several = fixed ?? (nodes > 1 && open ? options.gpus?.() : undefined) ?? 1;
  if (options.workersPerNode === undefined && several === 1) return undefined;
  if (!Number.isInteger(nodes))
    throw problem(
      `WORLD_SIZE is ${env.WORLD_SIZE} and PET_NPROC_PER_NODE ${fixed}`,
      "a number of ranks that the number of processes of each pod divides",
    );
  const reason = `of ${plural(nodes, "node")}`;
  return nodeOf(
    {
      ...{ nodes, workersPerNode: asked, source: pod && open ? "kubeflow" : engine.source },
      nodeRank: options.nodeRank ?? read(env, engine.rank, 0, nodes - 1, reason),
    },
    () => meetingPoint(env, engine, options.rendezvous),
  );
}

/** Whether each node, as far as this one can tell, holds one process. */
function isAloneOnNode(env: Environment, engine: Engine): boolean {
  if (isStep(env, engine)) return isOneTaskANode(env);
  return isPod(env, engine) || engine.localWorldSize.some((name) => env[name] === "1");
}

/** Whether a process was given a rank and no local one, as the only one of its pod. */
function isPod(env: Environment, engine: Engine): boolean {
  return engine.source === "torchrun" && env.LOCAL_RANK === undefined && !isStep(env, engine);
}

/** A pod of Kubeflow's TrainJob, which leaves all of its ranks to a launcher in the pod. */
function trainJobOf(env: Environment, options: PlaceOptions): Place | undefined {
  if (podsOf(env) !== trainJob) return undefined;
  const nodes = read(env, trainJob.worldSize, 1);
  const nodeRank = options.nodeRank ?? rankIn(env, trainJob, nodes);
  const workersPerNode = options.workersPerNode ?? processesOf(env);
  if (nodes === 1 && workersPerNode === undefined) return alone();
  return nodeOf({ nodes, nodeRank, workersPerNode, source: "kubeflow" }, () =>
    meetingPoint(env, trainJob, options.rendezvous),
  );
}

/** PET_NPROC_PER_NODE; undefined where it leaves the number to the pod. */
function processesOf(env: Environment): number | undefined {
  const { PET_NPROC_PER_NODE: text } = env;
  const open = text === undefined || ["auto", "gpu", "cpu"].includes(text);
  return open ? undefined : read(env, "PET_NPROC_PER_NODE", 1);
}

/** A pod of an indexed Job or a JobSet, whose variables give no more than its number. */
function indexedJobOf(env: Environment): Alone | undefined {
  if (podsOf(env) !== indexedJob) return undefined;
  const index = read(env, indexedJob.rank, 0);
  const flags = "--nodes N and --rendezvous host:port, with pod 0's name as host";
  // A job may have no more than pod 0.
  if (index === 0)
    return alone(
      `this run uses this pod of the job alone. For one run in all of its pods give ${flags}`,
    );
  throw misplaced(
    `${indexedJob.rank} is ${index}, so this is one of several pods, but nothing says how many they are ` +
      `or where they meet. For one run in all of them give ${flags}; for a run in this pod alone, --nodes 1`,
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
  if (nodes === 1 && workersPerNode === undefined) return alone();
  const engine = engineOf(env) ?? podsOf(env) ?? byHand;
  return nodeOf(
    {
      ...{ nodes, source: engine.source, workersPerNode: workersPerNode ?? processesOf(env) },
      nodeRank: nodes === 1 ? 0 : (options.nodeRank ?? numberOf(env, engine, nodes)),
    },
    () => meetingPoint(env, engine, options.rendezvous),
  );
}

/** The number of this node among those that the engine started a process on. */
function numberOf(env: Environment, engine: Engine, nodes: number): number {
  const reason = `--nodes is ${nodes}`;
  if (engine === byHand)
    throw misplaced(
      `${reason}, but nothing says which of them this is. Give --node-rank, from 0 to ${nodes - 1}, or start ` +
        "the command on all of them by srun or mpirun, once a node",
    );
  if (isPod(env, engine) || engine === podsOf(env))
    return read(env, engine.rank, 0, nodes - 1, reason);
  const worldSize = read(env, engine.worldSize, 1);
  const here = localSizeOf(env, engine, localRankOf(env, engine, worldSize), worldSize) ?? 1;
  if (worldSize === nodes && here === 1) return read(env, engine.rank, 0, nodes - 1, reason);
  throw misplaced(
    `${reason}, but ${engine.worldSize} is ${worldSize}, with ${here} of them here. Start one process a node, ` +
      "or leave --nodes out to make each process a rank",
  );
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
  throw misplaced(
    `this process is to start the ${workersPerNode} ranks of its node (PET_NPROC_PER_NODE) and is none of ` +
      "them. Start the script by `onehour launch`",
  );
}
