// The link between the supervisors of several nodes: node 0 hears what the others report, and tells them what
// to do.

import type { Socket } from "node:net";
import { seconds } from "../system/clock.js";
import type { Address } from "./addresses.js";
import { type Frame, sendFrame } from "./frames.js";
import { joinRendezvous } from "./join-rendezvous.js";
import type { NodePlace, Order, Outcome } from "./judge.js";
import { listenWhere } from "./listen.js";
import { type NodeReport, parseReport } from "./node-report.js";
import { failure, seal, thisHost, unseal } from "./rendezvous.js";
import type { RendezvousClient } from "./rendezvous-client.js";
import { RendezvousServer } from "./rendezvous-server.js";
import type { Heartbeat } from "./supervise.js";

/** What node 0 tells a node. */
export type NodeOrder =
  /** Start the workers. */
  | ({ type: "start" } & Start)
  /** Start none for now. */
  | { type: "standBy"; why: string }
  | Order
  /** The run is over. */
  | { type: "over"; outcome: Outcome };

/** A start of all workers, as one node is told of it. */
export interface Start {
  /** This node's part, and all nodes. */
  place: NodePlace;
  worldSize: number;
  nodes: number;
  /** Of the workers' rendezvous, on node 0. */
  port: number;
  /** The workers' secret, sealed. */
  token: string;
  /** What the program of the workers has to know besides. */
  brief: string;
  /** Host of node 0. */
  lead: string;
  /** How often the run started again. */
  restarts: number;
}

/** A machine that answers nothing for so long counts as lost. */
const quietSeconds = 10;
// Node 0 says so often that it lives.
const beatSeconds = 1;
const beatKey = "alive";

const sealing = (node: number) => `workers' token for node ${node}`;

const unreachable = `is lost: its machine has not answered for ${quietSeconds} s, so that it, or the network between, is down`;
const ended = "is lost: its supervisor ended without a word. Was it killed?";
const silent = (seconds: number) =>
  `is lost: its supervisor has said nothing for ${seconds} s, though its machine answers. Was it stopped?`;

/** What node 0 does with what it hears of the others. */
interface Listener {
  heard(node: number, report: NodeReport): void;
  /** A node is gone, and how that was noticed. */
  lost(node: number, how: string): void;
  /** Whether a node may be started anew while its former connection still seems to be there. */
  isRunning: boolean;
}

interface MeetingOptions {
  nodes: number;
  address: Address;
  token: string;
  /** Shows who is missing, or what is in the way. */
  remark: (text: string) => void;
}

/** Node 0's end of the links to all other nodes, which may come, go and come again. */
export class NodeServer extends RendezvousServer {
  private listener: Listener | undefined;
  /** Of the nodes that were admitted. */
  private readonly hosts = new Map<number, string>();
  private secret = "";
  private readonly beat = setInterval(() => this.announce(beatKey, ""), 1000 * beatSeconds).unref();

  /** Listens at `address` for the other nodes of `nodes`. Throws ERR_ONEHOUR_RENDEZVOUS where it cannot. */
  static async open(
    { nodes, address, token, remark }: MeetingOptions,
    listener: Listener,
  ): Promise<NodeServer> {
    const options = { worldSize: nodes, token, quietSeconds, remark, kind: "node" as const };
    const server = new NodeServer(options, await listenWhere({ ...address, kind: "node", remark }));
    server.listener = listener;
    server.secret = token;
    server.arrivals.come(0, thisHost()); // without a connection
    return server;
  }

  /** "node 1 of 2" */
  get missing(): string {
    return this.arrivals.missing();
  }

  hostOf(node: number): string {
    return this.arrivals.hostOf(node);
  }

  tell(node: number, order: NodeOrder): void {
    const socket = this.members.get(node);
    if (socket) sendFrame(socket, { type: "announce", key: "order", value: JSON.stringify(order) });
  }

  /** Tells a node to start its workers, whose secret only the nodes can read. */
  tellStart(node: number, start: Omit<Start, "token">, token: string): void {
    const sealed = seal(this.secret, sealing(node), Buffer.from(token)).toString("base64");
    this.tell(node, { type: "start", ...start, token: sealed });
  }

  override async close(): Promise<void> {
    clearInterval(this.beat);
    await super.close();
  }

  protected override get mayReturn(): boolean {
    return this.listener?.isRunning === true;
  }

  /** It is here once it has said hello. */
  protected override arrive(node: number, host: string): void {
    this.hosts.set(node, host);
  }

  protected override isHere(node: number): boolean {
    return node === 0 || super.isHere(node);
  }

  protected override receive(node: number, socket: Socket, { key, value }: Frame): void {
    const report = key === "report" && typeof value === "string" ? parseReport(value) : undefined;
    if (report !== undefined) {
      if (report.type === "hello") super.arrive(node, this.hosts.get(node)!);
      this.listener?.heard(node, report);
      return;
    }
    this.lose(node, "is lost: it said something that is no report of a node");
    socket.destroy();
  }

  protected override leave(node: number, lost?: "silent" | "ended"): void {
    const how = { silent: unreachable, ended };
    this.lose(node, lost === undefined ? "left before the run was over" : how[lost]);
  }

  private lose(node: number, how: string): void {
    this.members.delete(node);
    this.arrivals.leave(node);
    this.listener?.lost(node, how);
  }
}

/** Another node's end of its link to node 0. */
export class NodeClient {
  /** Resolves, with how that was noticed, when node 0 is gone. */
  readonly lost: Promise<string>;
  private readonly beats = new Map<number, Heartbeat>();
  private isUnreachable = false;
  private giveUp: (how: string) => void = () => {};
  /** Seconds of this process' time since node 0 last said something. */
  private silence = 0;
  private lastTick = seconds();

  private constructor(
    private readonly client: RendezvousClient,
    private readonly secret: string,
    private readonly silentSeconds: number,
    take: (order: NodeOrder) => void,
  ) {
    client.listen("order", (text) => take(JSON.parse(text) as NodeOrder));
    client.listen(beatKey, () => {
      this.silence = 0;
    });
    client.onLoss((loss) => {
      this.isUnreachable = loss.unreachable;
    });
    const isClosed = client.closed.then(() => (this.isUnreachable ? unreachable : ended));
    const isSilent = new Promise<string>((resolve) => {
      this.giveUp = resolve;
    });
    this.lost = Promise.race([isClosed, isSilent]);
  }

  /**
   * Looks for node 0 and says hello. Throws ERR_ONEHOUR_RENDEZVOUS when it does not answer in time or
   * refuses this node, and the signal's reason when that ends the search.
   */
  static async join(
    options: MeetingOptions & {
      node: number;
      timeoutSeconds: number;
      /** Node 0 counts as lost when its supervisor says nothing for so long. */
      silentSeconds: number;
      signal: AbortSignal;
    },
    facts: Record<string, unknown>,
    take: (order: NodeOrder) => void,
  ): Promise<NodeClient> {
    const { node, nodes, address, silentSeconds, ...rest } = options;
    const client = await joinRendezvous({
      ...{ rank: node, worldSize: nodes, kind: "node", quietSeconds },
      ...address,
      ...rest,
    });
    const link = new NodeClient(client, options.token, silentSeconds, take);
    link.tell({ type: "hello", facts });
    return link;
  }

  /** The address at which this node reaches node 0. */
  get serverAddress(): string {
    return this.client.serverAddress;
  }

  tell(report: NodeReport): void {
    this.client.announce("report", JSON.stringify(report));
  }

  /** Passes a worker's heartbeat on with the next tick. */
  beat(rank: number, beat: Heartbeat): void {
    this.beats.set(rank, beat);
  }

  /** To be called several times a second. */
  tick(): void {
    if (this.beats.size > 0) this.tell({ type: "beats", beats: [...this.beats] });
    this.beats.clear();
    // Time in which this process itself did not run (stopped, or no core for it) does not count.
    const now = seconds();
    this.silence += Math.min(now - this.lastTick, beatSeconds);
    this.lastTick = now;
    if (this.silence >= this.silentSeconds) this.giveUp(silent(this.silentSeconds));
  }

  /** The workers' secret. Throws where it was changed on its way. */
  tokenOf({ token, place }: Start): string {
    const opened = unseal(this.secret, sealing(place.node), Buffer.from(token, "base64"));
    if (opened !== undefined) return opened.toString();
    throw failure("the workers' secret was changed on its way from node 0");
  }

  async close(): Promise<void> {
    await this.client.close();
  }
}
