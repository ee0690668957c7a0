// The supervisor of node 0: waits for the other nodes, starts all workers, judges them and ends them together.
// A run on one machine has no other nodes.
import { randomBytes } from "node:crypto";
import type { OnehourError } from "../errors.js";
import { listenForLosses } from "../system/output.js";
import { shown } from "../text/words.js";
import { withPort } from "./addresses.js";
import type { Cluster } from "./cluster.js";
import { clusterName } from "./cluster-options.js";
import { Crew, type CrewOptions, graceSeconds } from "./crew.js";
import { Judge, type NodePlace, type Order, type Outcome } from "./judge.js";
import { type NodeReport, NodeServer } from "./node-link.js";
import { thisHost } from "./rendezvous.js";
import { listenWhere, RendezvousServer } from "./rendezvous-server.js";
import { type EndingSignal, listenForEnd, signalStatus } from "./signals.js";

/** What a supervisor needs to know to serve a run. */
export interface Duty {
  cluster: Cluster;
  /** What must be alike on all nodes, by the name that a message gives it. */
  facts: Record<string, unknown>;
  /** The workers' command and variables, for what node 0 says of the run. */
  crew: (brief: string) => CrewOptions;
  timeoutSeconds: number;
  remedy?: string | undefined;
  /** Shows a line to the user. */
  say: (text: string) => void;
}

const tickSeconds = 0.2;
// From the end of the run until the other nodes must have heard of it.
const farewellSeconds = 3;

/** Leads a run of all nodes to its end. `brief` is what the workers of every node are to know. */
export async function lead(duty: Duty, brief: string): Promise<Outcome> {
  const { nodes, rendezvous: address, token, isPublic } = duty.cluster;
  const remark = duty.say;
  const leader = new Lead(duty);
  if (address === undefined) return await leader.run(undefined, brief);
  if (isPublic)
    process.emitWarning(
      `neither ${clusterName("tokenFile")} nor ONEHOUR_TOKEN gives a secret, so anyone who can reach ` +
        "node 0 and guess the public name of this job may join as a node. Give all nodes a file with the " +
        "same random text",
      { code: "ONEHOUR_TOKEN" },
    );
  const link = await NodeServer.open({ nodes, address, token, remark }, leader);
  try {
    return await leader.run(link, brief);
  } finally {
    await link.close();
  }
}

class Lead {
  /** The other nodes that are here. */
  private readonly here = new Set<number>();
  private link: NodeServer | undefined;
  private judge: Judge | undefined;
  private crew: Crew | undefined;
  /** The signal that came before there were workers. */
  private interruption: EndingSignal | undefined;
  /** Why the run cannot start. */
  private refusal: Outcome | undefined;
  private wake: () => void = () => {};

  constructor(private readonly duty: Duty) {}

  get isRunning(): boolean {
    return this.judge !== undefined;
  }

  async run(link: NodeServer | undefined, brief: string): Promise<Outcome> {
    this.link = link;
    const unlisten = listenForEnd((signal) => this.heard(0, { type: "signal", signal }));
    const unlistenLosses = listenForLosses((text) => this.crew?.tellLoss(text));
    const tick = setInterval(() => this.tick(), tickSeconds * 1000);
    try {
      await this.assemble();
      const outcome = this.notStarted() ?? (await this.start(brief));
      await this.dismiss(outcome);
      return outcome;
    } catch (error) {
      const { message, code } = error as OnehourError;
      await this.dismiss({ status: 1, cause: `node 0: ${message}`, code, details: [] });
      throw error;
    } finally {
      clearInterval(tick);
      this.crew?.kill();
      unlisten();
      unlistenLosses();
    }
  }

  private tick(): void {
    this.judge?.check();
    this.wake();
  }

  /** Takes what a node reports. */
  heard(node: number, report: NodeReport): void {
    if (report.type === "hello") this.admit(node, report.facts);
    else if (report.type === "beats")
      for (const [rank, beat] of report.beats) this.judge?.hear(node, { type: "beat", rank, beat });
    else if (this.judge !== undefined) this.judge.hear(node, report);
    else if (report.type === "signal") this.interruption ??= report.signal;
    this.wake();
  }

  lost(node: number, how: string): void {
    this.here.delete(node);
    this.judge?.lose(node, how);
    this.wake();
  }

  private admit(node: number, facts: Record<string, unknown>): void {
    this.here.add(node);
    const difference = differenceOf(this.duty.facts, facts);
    if (difference === undefined) return;
    const [own, theirs] = difference;
    this.refusal ??= failed(
      "ERR_ONEHOUR_RANKS_DIFFER",
      `node ${node} (host ${this.link?.hostOf(node)}) has ${theirs}, node 0 (host ${thisHost()}) has ${own}. ` +
        "Start all nodes with the same command and version",
    );
  }

  private notStarted(): Outcome | undefined {
    if (this.interruption !== undefined)
      return { status: signalStatus(this.interruption), details: [] };
    return this.refusal;
  }

  /** Waits until all nodes are here, or something keeps the run from its start. */
  private async assemble(): Promise<void> {
    const { nodes, startSeconds } = this.duty.cluster;
    const deadline = performance.now() + startSeconds * 1000;
    while (this.here.size < nodes - 1 && this.notStarted() === undefined) {
      if (performance.now() > deadline)
        this.refusal = failed("ERR_ONEHOUR_RENDEZVOUS", this.link!.late(startSeconds));
      else await this.change();
    }
  }

  /** Resolves when something has happened, or with the next tick. */
  private change(): Promise<void> {
    return new Promise((resolve) => {
      this.wake = resolve;
    });
  }

  /** Starts the workers of all nodes, and follows them to their end. */
  private async start(brief: string): Promise<Outcome> {
    const { cluster, timeoutSeconds, remedy } = this.duty;
    const { nodes, workersPerNode: workers, rendezvous: address } = cluster;
    const worldSize = nodes * workers;
    const places: NodePlace[] = Array.from({ length: nodes }, (_, node) => ({
      ...{ node, first: node * workers, workers },
      host: node === 0 ? thisHost() : this.link!.hostOf(node),
    }));
    const token = randomBytes(32).toString("hex");
    const server =
      address === undefined
        ? await RendezvousServer.listen({ worldSize, token })
        : new RendezvousServer(
            { worldSize, token },
            await listenWhere({ host: address.host, port: 0, kind: "node" }),
          );
    const judge = new Judge(places, {
      timeoutSeconds,
      remedy,
      placeOf: (rank) => {
        const key = server.waiting(rank)?.key;
        return key === undefined ? undefined : `at the rendezvous "${key}"`;
      },
      order: (order) => this.order(order),
    });
    this.judge = judge;
    try {
      const { port } = server;
      for (const place of places.slice(1))
        this.link?.tellStart(
          place.node,
          { place, worldSize, nodes, port, brief, lead: thisHost() },
          token,
        );
      this.crew = new Crew(
        this.duty.crew(brief),
        { ...places[0]!, worldSize, rendezvous: withPort(server.ownAddress, port), token },
        (report) => this.judge?.hear(0, report),
      );
      // One may have gone since it was counted.
      for (const { node } of places.slice(1))
        if (!this.here.has(node)) judge.lose(node, "is lost: it left before its workers began");
      await judge.ended;
      return judge.outcome();
    } finally {
      await server.close();
    }
  }

  /** Has every node carry out an order. */
  private order(order: Order): void {
    for (const node of this.here) this.link?.tell(node, order);
    if (order.type === "signal") this.crew?.signal(order.signal);
    else {
      this.crew?.stop();
      const { judge } = this;
      // A node whose workers do not end although it says that it is there.
      setTimeout(() => judge?.giveUp(), (graceSeconds + farewellSeconds) * 1000).unref();
    }
  }

  /** Tells the other nodes how the run ended, and waits until they have gone. */
  private async dismiss(outcome: Outcome): Promise<void> {
    for (const node of this.here) this.link?.tell(node, { type: "over", outcome });
    const deadline = performance.now() + farewellSeconds * 1000;
    while (this.here.size > 0 && performance.now() < deadline) await this.change();
  }
}

const failed = (code: string, cause: string): Outcome => ({ status: 1, cause, code, details: [] });

/** The first facts in which two nodes differ, each in words. */
function differenceOf(
  own: Record<string, unknown>,
  theirs: Record<string, unknown>,
): [string, string] | undefined {
  for (const name of new Set([...Object.keys(own), ...Object.keys(theirs)])) {
    const [a, b] = [own[name], theirs[name]];
    if (JSON.stringify(a) === JSON.stringify(b)) continue;
    const say = (value: unknown) =>
      value === undefined ? `no ${name}` : `${name} ${shown(value)}`;
    return [say(a), say(b)];
  }
  return undefined;
}
