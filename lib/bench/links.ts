// How each pair of ranks is connected: as the CPU's transport says, or as NCCL's log does.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { NativeCommunicator } from "../device/device.js";
import type { World } from "../ranks/world.js";

/** How two ranks are connected. */
export interface Link {
  ranks: [number, number];
  /** "shared memory", "Unix socket", "TCP to 10.0.0.2:4000", or NCCL's transport, such as "P2P/CUMEM". */
  link: string;
}

/** NCCL chooses when it first communicates, and says so in its log alone. */
const ncclSetting = { NCCL_DEBUG: "INFO", NCCL_DEBUG_SUBSYS: "INIT,P2P,SHM,NET,GRAPH" };

/** The transports that a log of NCCL's names, by the pair of its ranks, "0-1": "P2P/CUMEM", "NET/IB/0". */
export function ncclTransports(log: string): Map<string, string> {
  const lines = log.matchAll(/: (\d+)\[\w+\] -> (\d+)\[\w+\](?: \[\w+\])? via (\S+)/g);
  const ways = new Map<string, string>();
  for (const [, a, b, way] of lines) {
    const pair = [Number(a), Number(b)].sort((x, y) => x - y).join("-");
    ways.set(pair, way!);
  }
  return ways;
}

/**
 * Lets NCCL write its log into a folder, from before it is first used, unless the user has it already. Returns
 * what reads the log.
 */
export function listenToNccl(folder: string): () => string {
  if (process.env.NCCL_DEBUG !== undefined) return () => "";
  const prefix = "nccl.";
  Object.assign(process.env, { ...ncclSetting, NCCL_DEBUG_FILE: join(folder, `${prefix}%p`) });
  return () =>
    readdirSync(folder)
      .filter((name) => name.startsWith(prefix))
      .map((name) => readFileSync(join(folder, name), "utf8"))
      .join("\n");
}

/** What stands in place of a transport that NCCL did not tell: of a ring each rank has two neighbours. */
const untold = "not connected by itself, or not told by NCCL";

/**
 * How the ranks of a communicator over the whole world are connected; the same on all ranks, in the order of the
 * pairs. `log` is NCCL's of this rank.
 */
export async function linksOf(
  world: World,
  communicator: NativeCommunicator,
  log = "",
): Promise<Link[]> {
  const logs = (await world.gather("transports", JSON.stringify([...ncclTransports(log)]))).flatMap(
    (text) => JSON.parse(text) as [string, string][],
  );
  const told = new Map(logs);
  const own: Link[] = [];
  for (let peer = world.rank + 1; peer < world.worldSize; peer++) {
    const link = communicator.linkTo(peer) || (told.get(`${world.rank}-${peer}`) ?? untold);
    own.push({ ranks: [world.rank, peer], link });
  }
  const all = await world.gather("links", JSON.stringify(own));
  return all.flatMap((text) => JSON.parse(text) as Link[]);
}
