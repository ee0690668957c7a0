// The time of an all-reduce of b bytes over p members that are joined by links of latency α and bandwidth β, by
// algorithm: messages after one another cost α each, and the bytes that a member sends cost 1/β each. Adding up is
// taken as free.
//
// Sources: Goyal et al. 2017, section 4 (both send 2·b·(p − 1)/p bytes; 2(p − 1) steps of the ring, 2·log2 p of
// halving and doubling). Thakur, Rabenseifner, Gropp 2005, "Optimization of Collective Communication Operations in
// MPICH" (numbers of members that are no power of two). Sanders, Speck, Träff 2009, "Two-tree algorithms for full
// bandwidth broadcast, reduction and scan", and NCCL's own model (src/graph/tuning.cc), in which the double tree
// moves b up and b down.
import type { Link } from "./links.js";

export interface Algorithm {
  /** In one line, with the formula. */
  help: string;
  /** Seconds for `bytes` over `members`, at least 2. */
  seconds(bytes: number, members: number, link: Link): number;
}

const shared = (bytes: number, members: number) => (2 * bytes * (members - 1)) / members;

export const algorithms = {
  ring: {
    help: "2(p − 1) messages of b/p bytes: 2(p − 1)(α + b/(p·β))",
    seconds: (bytes, members, { latency, bandwidth }) =>
      2 * (members - 1) * latency + shared(bytes, members) / bandwidth,
  },
  tree: {
    help: "NCCL's double tree, up and down: 2⌈log2 p⌉·α + 2b/β",
    seconds: (bytes, members, { latency, bandwidth }) =>
      2 * (32 - Math.clz32(members - 1)) * latency + (2 * bytes) / bandwidth,
  },
  "halving-doubling": {
    help: "2·log2 p·α + 2b(p − 1)/(p·β); where p is no power of two, that of the next lower one and 2(α + b/β)",
    seconds(bytes, members, link) {
      const { latency, bandwidth } = link;
      const steps = 31 - Math.clz32(members);
      const paired = 2 ** steps;
      // The members beyond a power of two hand their bytes to a neighbour and get the sums back.
      const fold = paired === members ? 0 : 2 * (latency + bytes / bandwidth);
      return 2 * steps * latency + shared(bytes, paired) / bandwidth + fold;
    },
  },
} as const satisfies Record<string, Algorithm>;

export type AlgorithmName = keyof typeof algorithms;

export const algorithmNames = Object.keys(algorithms) as AlgorithmName[];

/** How workers are joined. */
export interface Topology {
  algorithm: AlgorithmName;
  /** Workers that share a node, and with it one link to the other nodes. */
  workersPerNode: number;
  /** Between nodes. */
  link: Link;
  /** Between workers of a node; not used where each has a node of its own. */
  linkInside: Link;
}

/** Nodes that `workers` take. */
export const nodesOf = (workers: number, { workersPerNode }: Pick<Topology, "workersPerNode">) =>
  Math.ceil(workers / workersPerNode);

/**
 * Seconds of an all-reduce over all workers. Within a node it is the algorithm's. Over several it is that of the
 * paper: a sum inside each node, an all-reduce between the nodes, a broadcast inside each.
 */
export function allReduceSeconds(bytes: number, workers: number, topology: Topology): number {
  const { workersPerNode, link, linkInside } = topology;
  if (workers === 1) return 0;
  const { seconds } = algorithms[topology.algorithm];
  const nodes = nodesOf(workers, topology);
  if (nodes === 1) return seconds(bytes, workers, linkInside);
  // A chain of the node's workers passes pieces on, so that the bytes travel once.
  const chain = (workersPerNode - 1) * linkInside.latency;
  const inside = workersPerNode === 1 ? 0 : chain + bytes / linkInside.bandwidth;
  return inside + seconds(bytes, nodes, link) + inside;
}
