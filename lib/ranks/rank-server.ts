// The rendezvous that rank 0 holds where an engine started the ranks: it takes their heartbeats too, and rank 0
// hears at once, before it says something itself, what the others hear.
import type { Socket } from "node:net";
import type { Frame } from "./frames.js";
import { type ListenOptions, listenWhere } from "./listen.js";
import { beatKey, endKey } from "./rendezvous.js";
import { RendezvousServer, type ServerOptions } from "./rendezvous-server.js";
import type { Heartbeat } from "./supervise.js";

export class RankServer extends RendezvousServer {
  onBeat: (rank: number, beat: Heartbeat) => void = () => {};
  onLeave: (rank: number) => void = () => {};
  onEnd: (text: string) => void = () => {};

  static async host(options: ServerOptions & ListenOptions): Promise<RankServer> {
    return new RankServer(options, await listenWhere(options));
  }

  override announce(key: string, value: string): void {
    if (key === endKey) this.onEnd(value);
    super.announce(key, value);
  }

  protected override receive(rank: number, socket: Socket, frame: Frame): void {
    const { type, key, value } = frame;
    if (type === "announce" && key === beatKey)
      this.onBeat(rank, JSON.parse(String(value)) as Heartbeat);
    else super.receive(rank, socket, frame);
  }

  protected override leave(rank: number, lost?: "silent" | "ended"): void {
    this.onLeave(rank);
    super.leave(rank, lost);
  }
}
