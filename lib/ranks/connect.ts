// `connect()` meets the other ranks of a run, for scripts and for training.

import { agreeOnShare } from "../device/cores.js";
import { useLocalRank } from "../device/gpus.js";
import { native } from "../device/native.js";
import { requireOptions } from "../recipe/options.js";
import { startTimeoutSeconds as defaultStartTimeout, readSetting } from "../system/variables.js";
import { Ending } from "./ending.js";
import { type RendezvousAddress, readEnvironment } from "./environment.js";
import { joinRendezvous } from "./join-rendezvous.js";
import {
  countedPlace,
  type Neighbour,
  ownDescription,
  remarkOnCores,
  sharesOfCores,
  wholeCores,
} from "./neighbours.js";
import { publicName } from "./public-name.js";
import { RankServer } from "./rank-server.js";
import type { RendezvousClient } from "./rendezvous-client.js";
import { hasLauncher } from "./report.js";
import { shareAddresses } from "./share-addresses.js";
import { ConnectedWorld, usage, type World } from "./world.js";

export interface ConnectOptions {
  /**
   * Seconds that the ranks wait, once all have met, for one whose machine does not answer; ONEHOUR_TIMEOUT,
   * else 60, by default. A run in which a rank makes no progress for as long while others wait for it, or while
   * it reads a data set, is ended and the rank named: by the launcher, or under an engine by the ranks.
   */
  timeoutSeconds?: number;
  /** Seconds to wait at the start until all ranks have come; ONEHOUR_START_TIMEOUT, else 600, by default. */
  startTimeoutSeconds?: number;
}

// A launcher that watches progress ends a hang itself, and knows a long step from one.
const supervisedSeconds = 100 * 3600;
// Under an engine the ranks do, if they can: a collective gives up after this many timeouts at the latest.
const unsupervisedFactor = 10;
// Node's timers end at once when they are to last longer than 2³¹ ms.
const longestTimer = 2e6;
// A machine that answers nothing for less time than this may only be in a bad network.
const leastQuiet = 10;
// The launcher's meeting is open before its workers begin: one that cannot reach it says so before that counts
// as a hang (60 s by default).
const joinSeconds = 45;

/**
 * Meets the other ranks of this run and returns the world; a process that no launcher started is a
 * world of one and needs no network. A process is in one world at a time: to meet again, every rank
 * closes its world first.
 *
 * @throws OnehourError ERR_ONEHOUR_USAGE for an option that there is not, ERR_ONEHOUR_ENVIRONMENT for
 * launcher variables that make no sense, ERR_ONEHOUR_RENDEZVOUS naming the ranks that did not come.
 */
export async function connect(options: ConnectOptions = {}): Promise<World> {
  requireOptions(options, "connect", ["timeoutSeconds", "startTimeoutSeconds"]);
  const place = readEnvironment();
  const { rank, worldSize } = place;
  let { localRank, localWorldSize = 1 } = place;
  const timeoutSeconds = bounded(options.timeoutSeconds ?? readSetting("ONEHOUR_TIMEOUT") ?? 60);
  const startTimeoutSeconds = bounded(options.startTimeoutSeconds ?? defaultStartTimeout());
  const collectiveSeconds = hasLauncher() ? supervisedSeconds : timeoutSeconds * unsupervisedFactor;
  let server: RankServer | undefined;
  let rendezvous: RendezvousClient | undefined;
  let ending: Ending | undefined;
  let hosts = 1;

  if (place.rendezvous !== undefined) {
    const { host, port } = place.rendezvous;
    const token = place.rendezvous.token ?? publicName(`${place.source} ${host} ${port}`);
    const meets = {
      ...{ worldSize, token, host, port },
      // Before the silence of such a machine counts as a hang of its ranks.
      quietSeconds: Math.max(timeoutSeconds / 2, leastQuiet),
      remark: (text: string) => process.emitWarning(text, { code: "ONEHOUR_WAITING" }),
    };
    if (rank === 0 && place.source !== "onehour")
      server = await RankServer.host({
        ...{ ...meets, timeoutSeconds, startTimeoutSeconds },
        isLocal: place.localWorldSize === worldSize,
        onLoss: (loss) => ending?.lose(loss),
      });
    rendezvous = await joinRendezvous({
      ...{ ...meets, rank, timeoutSeconds: hasLauncher() ? joinSeconds : startTimeoutSeconds },
      host: server?.ownAddress ?? host,
    });
    const meeting = rendezvous.gather("meet", JSON.stringify(ownDescription(localRank)));
    const texts = await native.whileWaiting(() => meeting);
    const all = texts.map((text) => JSON.parse(String(text)) as Neighbour);
    hosts = new Set(all.map(({ host }) => host)).size;
    if (place.localWorldSize === undefined)
      ({ localRank, localWorldSize } = countedPlace(all, rank));
    useLocalRank(localRank);
    agreeOnShare(wholeCores(sharesOfCores(all)[rank]!));
    const client = rendezvous;
    const networks = hosts > 1 ? await native.whileWaiting(() => shareAddresses(client)) : "";
    if (rank === 0) warn(place.rendezvous, hosts, networks, remarkOnCores(all));
    // For collectives: how long another machine may not answer.
    process.env.ONEHOUR_QUIET_SECONDS = String(meets.quietSeconds);
    if (place.source !== "onehour") {
      server?.waitForEver();
      ending = new Ending({
        ...{ rank, source: place.source, client: rendezvous, server, timeoutSeconds },
        hosts: all.map(({ name }) => name),
      });
    }
  }
  return new ConnectedWorld(
    { rank, worldSize, localRank, localWorldSize },
    hosts,
    rendezvous,
    server,
    collectiveSeconds,
    ending,
  );
}

function bounded(seconds: number): number {
  if (!(seconds > 0)) throw usage(`a timeout of ${seconds} seconds, expected a number above 0`);
  return Math.min(seconds, longestTimer);
}

/** Warns, once a run, of what is not protected or not used. */
function warn(
  { token }: RendezvousAddress,
  hosts: number,
  networks: string,
  cores: string | undefined,
): void {
  if (cores !== undefined) process.emitWarning(cores, { code: "ONEHOUR_CORES" });
  if (token === undefined)
    process.emitWarning(
      "ONEHOUR_TOKEN is not set, so anyone who can reach the ranks and guess the public name of this " +
        "job may join them. Set it to the same random text for all ranks",
      { code: "ONEHOUR_TOKEN" },
    );
  if (hosts > 1)
    process.emitWarning(
      `the ranks are on ${hosts} hosts, and ${networks}. What they send each other is not encrypted: the network ` +
        "between the hosts must be one that you trust (SECURITY.md)",
      { code: "ONEHOUR_NETWORK" },
    );
}
