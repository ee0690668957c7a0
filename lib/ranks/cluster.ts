// Which machines a run is on and what this one has to do: from options, the environment and the GPUs here.
import { statSync } from "node:fs";
import { defaultWorkers } from "../device/gpus.js";
import { readSmall } from "../system/regular-file.js";
import { startTimeoutSeconds } from "../system/variables.js";
import { plural, shown } from "../text/words.js";
import type { Address } from "./addresses.js";
import {
  type ClusterOptions,
  clusterName,
  readClusterOptions,
  refuseOption,
  rendezvousOf,
} from "./cluster-options.js";
import { type Place, readPlace } from "./environment.js";
import { publicName } from "./public-name.js";
import { requireJob } from "./requeue.js";

/** The machines of a run, as one of them sees them. */
export interface Cluster {
  nodes: number;
  /** From 0 to `nodes` − 1. */
  nodeRank: number;
  workersPerNode: number;
  /** Where node 0 is; absent for one node. */
  rendezvous?: Address;
  /** Admits nodes. */
  token: string;
  /** Whether everybody can know the token. */
  isPublic: boolean;
  /** How long a node waits for the others. */
  startSeconds: number;
  /** Starts after failures within an hour. */
  maxRestarts: number;
  /** Nodes that are enough to go on. */
  minNodes: number;
}

/** What a process is to do for a run. */
export interface Part {
  place: Place;
  /** Absent for a rank that something else has started. */
  cluster?: Cluster;
  /** k, the workers of all nodes, unless that is left to the recipe. */
  workers?: number;
  /** How long a rank waits for the others at the start, and a node for the other nodes. */
  startSeconds: number;
}

/**
 * The part of this process in a run of k `workers` in all; by default each node has as many as `own` says.
 * Throws ERR_ONEHOUR_USAGE for options that contradict each other or the workers, and
 * ERR_ONEHOUR_ENVIRONMENT as `readPlace` does.
 */
export function readPart(
  given: ClusterOptions | undefined,
  { workers, own = defaultWorkers }: { workers?: number | undefined; own?: () => number } = {},
): Part {
  const options = readClusterOptions(given);
  if (options.requeue) requireJob();
  const startSeconds = options.startTimeout ?? startTimeoutSeconds();
  const place = readPlace(process.env, {
    ...options,
    rendezvous: rendezvousOf(options),
    gpus: own,
  });
  if (place.level === "rank" && place.worldSize > 1) {
    refuseRank(options, place.source);
    return { place, startSeconds, workers: place.worldSize };
  }
  if (place.level !== "node" && options.nodes === undefined) requireNodes(options);
  const node: Sizes = place.level === "node" ? place : { nodes: 1, nodeRank: 0 };
  const { nodes, nodeRank } = node;
  if (nodeRank >= nodes)
    throw refuseOption(
      "nodeRank",
      `${nodeRank} is none of ${plural(nodes, "node")}; expected 0 to ${nodes - 1}`,
    );
  const { maxRestarts = 0, minNodes = nodes } = options;
  if (minNodes > nodes)
    throw refuseOption(
      "minNodes",
      `${minNodes} is more than the ${plural(nodes, "node")} of the run; expected at most ${nodes}`,
    );
  if (options.minNodes !== undefined && maxRestarts === 0)
    throw refuseOption(
      "minNodes",
      `a run goes on without a node by starting again; allow that with ${clusterName("maxRestarts")}`,
    );
  const cluster = {
    ...{ nodes, nodeRank, startSeconds, maxRestarts, minNodes },
    workersPerNode: workersOf(node, workers, own),
    ...secretOf(options, node.rendezvous),
  };
  const rendezvous = nodes > 1 ? node.rendezvous : undefined;
  const isOpen = nodes === 1 && workers === undefined && node.workersPerNode === undefined;
  return {
    ...{ place, startSeconds },
    cluster: rendezvous === undefined ? cluster : { ...cluster, rendezvous },
    ...(isOpen ? {} : { workers: nodes * cluster.workersPerNode }),
  };
}

/** A cluster of this machine, with k workers. */
export function oneMachine(workers: number): Cluster {
  return {
    ...{ nodes: 1, nodeRank: 0, workersPerNode: workers, token: "", isPublic: false },
    ...{ startSeconds: startTimeoutSeconds(), maxRestarts: 0, minNodes: 1 },
  };
}

/** Refuses what is said of one node of several where nothing says how many they are. */
function requireNodes(options: ClusterOptions): void {
  for (const name of ["nodeRank", "rendezvous", "tokenFile", "minNodes"] as const)
    if (options[name] !== undefined)
      throw refuseOption(name, `say how many machines there are with ${clusterName("nodes")}`);
}

/** Refuses what says how to start ranks to a process that is one of them. */
function refuseRank(options: ClusterOptions, source: string): void {
  const names = Object.keys(options) as (keyof ClusterOptions)[];
  const name = names.find((one) => one !== "startTimeout" && one !== "requeue");
  if (name !== undefined)
    throw refuseOption(
      name,
      `${source} has started the ranks already, of which this process is one; leave it out, or start one ` +
        `process a node and give ${clusterName("workersPerNode")}`,
    );
}

interface Sizes {
  nodes: number;
  nodeRank: number;
  workersPerNode?: number;
  rendezvous?: Address;
}

/** Workers of this node. */
function workersOf(
  { nodes, workersPerNode }: Sizes,
  workers: number | undefined,
  own: () => number,
): number {
  if (workers === undefined) return workersPerNode ?? own();
  const each = workersPerNode ?? workers / nodes;
  if (each * nodes === workers && Number.isInteger(each)) return each;
  throw refuseOption(
    "workersPerNode",
    workersPerNode === undefined
      ? `${plural(workers, "worker")} in all cannot be the same number on each of ${plural(nodes, "node")}; ` +
          `expected a multiple of ${nodes}`
      : `${nodes} × ${workersPerNode} (nodes × workers of each) is ${nodes * workersPerNode}, but ` +
          `${plural(workers, "worker")} in all were asked for; leave one of them out`,
  );
}

/** What admits nodes: the file's secret, ONEHOUR_TOKEN, or else the run's public name. */
function secretOf(
  { tokenFile }: ClusterOptions,
  rendezvous: Address | undefined,
): Pick<Cluster, "token" | "isPublic"> {
  if (rendezvous === undefined) return { token: "", isPublic: false };
  const token = tokenFile === undefined ? process.env.ONEHOUR_TOKEN : readToken(tokenFile);
  return token
    ? { token, isPublic: false }
    : { token: publicName(`nodes ${rendezvous.port}`), isPublic: true };
}

function readToken(file: string): string {
  let token: string;
  let isOpen: boolean;
  try {
    token = readSmall(file).toString().trim();
    isOpen = (statSync(file).mode & 0o077) !== 0;
  } catch (error) {
    throw refuseOption("tokenFile", `cannot read ${shown(file)} (${(error as Error).message})`);
  }
  if (token === "") throw refuseOption("tokenFile", `${file} is empty; expected random text`);
  if (isOpen)
    process.emitWarning(
      `${file} can be read by other users of this machine, who may then join the run; chmod 600 ${file}`,
      { code: "ONEHOUR_TOKEN" },
    );
  return token;
}
