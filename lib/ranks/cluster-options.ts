// The options that say on which machines a run is, a row each: flags of `train` and `launch`, and fields of
// `cluster` in scripts. They are no part of a recipe.
import { z } from "zod";
import { UsageError } from "../errors.js";
import { flag, positive, text, whole } from "../recipe/kinds.js";
import { requireOptions } from "../recipe/options.js";
import { type Row, row } from "../recipe/row.js";
import { currentVoice, optionName } from "../recipe/voice.js";
import { mostRanks } from "../system/variables.js";
import { shown } from "../text/words.js";
import { type Address, parseAddress } from "./addresses.js";

const address = z.custom<string>(
  (value) => typeof value === "string" && parseAddress(value) !== undefined,
  {
    error: ({ input }) =>
      `expected host:port with a port from 1 to 65535, an IPv6 address as [::1]:port, got ${shown(input)}`,
  },
);

export const clusterTable = {
  nodes: row(whole(1, mostRanks), {
    flag: "--nodes <N>",
    help: "machines that train together; the command runs once on each",
    otherwise: "what the engine says, or 1",
  }),
  nodeRank: row(whole(0, mostRanks - 1), {
    flag: "--node-rank <r>",
    help: "which of the machines this is, from 0",
    otherwise: "what the engine says",
  }),
  rendezvous: row(address, {
    flag: "--rendezvous <host:port>",
    help: "where the others reach node 0: its host, and any free port",
    otherwise: "what the engine says",
  }),
  workersPerNode: row(whole(1), {
    flag: "--workers-per-node <m>",
    help: "worker processes of each machine",
    otherwise: "one a GPU, or 1",
  }),
  tokenFile: row(text, {
    flag: "--token-file <file>",
    help: "file with the secret that admits machines, the same on all",
    otherwise: "ONEHOUR_TOKEN, or none",
  }),
  startTimeout: row(positive, {
    flag: "--start-timeout <s>",
    help: "seconds to wait for machines and ranks that come late",
    otherwise: "ONEHOUR_START_TIMEOUT, or 600",
  }),
  maxRestarts: row(whole(0), {
    flag: "--max-restarts <R>",
    help: "after a failure start all workers again, at most R times an hour",
    otherwise: "0",
  }),
  minNodes: row(whole(1), {
    flag: "--min-nodes <M>",
    help: "go on without lost machines, on M or more of them",
    otherwise: "all of them",
  }),
  requeue: row(flag, {
    flag: "--requeue",
    help: "after SIGUSR1, SIGUSR2 or SIGTERM, once all is saved, ask Slurm to run the job again",
  }),
};

type ClusterTable = typeof clusterTable;
export type ClusterOptionName = keyof ClusterTable;

/** On which machines a run is. */
export type ClusterOptions = {
  [Name in ClusterOptionName]?: z.input<ClusterTable[Name]["schema"]>;
};

/** What becomes of a run after a failure or a signal: nothing that a measurement has a use for. */
export const restartOptions = ["maxRestarts", "minNodes", "requeue"] as const;

export const clusterRows = Object.entries(clusterTable) as [ClusterOptionName, Row][];

/** An option as its user knows it: `--node-rank`, or `cluster.nodeRank`. */
export function clusterName(name: ClusterOptionName): string {
  return currentVoice() === "flags" ? optionName(name) : `cluster.${name}`;
}

/** ERR_ONEHOUR_USAGE that names an option as the user knows it, and what is wrong with it. */
export function refuseOption(name: ClusterOptionName, problem: string): UsageError {
  return new UsageError("ERR_ONEHOUR_USAGE", `${clusterName(name)}: ${problem}`);
}

/** The options that are given, each checked by itself. Throws ERR_ONEHOUR_USAGE. */
export function readClusterOptions(given: ClusterOptions = {}): ClusterOptions {
  requireOptions(given, "cluster", Object.keys(clusterTable));
  for (const [name, { schema }] of clusterRows) {
    if (given[name] === undefined) continue;
    const parsed = schema.safeParse(given[name]);
    if (!parsed.success) throw refuseOption(name, parsed.error.issues[0]!.message);
  }
  return given;
}

/** Where node 0 is, of checked options. */
export function rendezvousOf({ rendezvous }: ClusterOptions): Address | undefined {
  return rendezvous === undefined ? undefined : parseAddress(rendezvous);
}
