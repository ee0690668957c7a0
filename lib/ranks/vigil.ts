// Watches over ranks that no launcher of ours does: each sends its heartbeats to rank 0, which finds the one that
// holds up the others; the others watch over rank 0.

import { native } from "../device/native.js";
import { seconds } from "../system/clock.js";
import type { RankServer } from "./rank-server.js";
import { beatKey } from "./rendezvous.js";
import type { RendezvousClient } from "./rendezvous-client.js";
import { type Verdict, Watch } from "./supervise.js";

const mostIntervalSeconds = 0.5;
// Engines kill what does not end within about 30 s of a signal: until then a silent rank is to be named.
const endingSeconds = 12;

interface VigilOptions {
  rank: number;
  worldSize: number;
  /** Seconds without progress after which a rank that others wait for counts as hung. */
  timeoutSeconds: number;
  /** Names of the ranks' machines. */
  hosts: readonly string[];
  client: RendezvousClient;
  /** On rank 0. */
  server: RankServer | undefined;
  /** Takes the verdict on a run that hangs, once. */
  onVerdict: (verdict: Verdict) => void;
}

export class Vigil {
  private readonly timer: NodeJS.Timeout;
  private readonly watch: Watch;
  /** A signal is to end the run, once all ranks have agreed on a step. */
  isEnding = false;

  constructor(private readonly options: VigilOptions) {
    const { rank, worldSize, timeoutSeconds, hosts, client, server } = options;
    const remedy = "raise the timeout (--timeout, timeoutSeconds or ONEHOUR_TIMEOUT)";
    const hostOf = (rank: number) => hosts[rank];
    this.watch = new Watch(worldSize, timeoutSeconds, seconds(), remedy, hostOf);
    const lives = (other: number, progress: number) =>
      this.watch.heartbeat(other, { progress, waiting: 0, running: 0, reading: 0 }, seconds());
    for (let other = 0; other < worldSize; other++) lives(other, 0); // all have met
    if (server) {
      server.onBeat = (other, beat) => this.watch.heartbeat(other, beat, seconds());
      server.onLeave = (other) => this.watch.finished(other);
      client.listen(beatKey, () => {}); // its own
    } else {
      for (let other = 1; other < worldSize; other++)
        if (other !== rank) this.watch.finished(other);
      // Whether rank 0 makes progress is its own to judge: here it is only alive, or not.
      let beats = 0;
      client.listen(beatKey, () => lives(0, ++beats));
    }
    const interval = Math.min(mostIntervalSeconds, timeoutSeconds / 10);
    this.timer = setInterval(() => this.tick(), 1000 * interval).unref();
  }

  private tick(): void {
    const { rank, client, server, onVerdict } = this.options;
    if (client.isOver) {
      this.close();
      return;
    }
    const own = native.readProgress();
    if (server) server.announce(beatKey, "");
    else this.watch.heartbeat(rank, own, seconds());
    client.announce(beatKey, JSON.stringify(own));
    const hang = this.watch.check(seconds(), (other) => {
      const key = server?.waiting(other)?.key;
      return key === undefined ? undefined : `at the rendezvous "${key}"`;
    });
    const verdict =
      hang ?? (this.isEnding ? this.watch.checkEnding(seconds(), endingSeconds) : undefined);
    if (!verdict) return;
    this.close();
    onVerdict(verdict);
  }

  close(): void {
    clearInterval(this.timer);
  }
}
