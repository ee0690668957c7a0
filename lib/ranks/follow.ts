// The supervisor of a node other than node 0: does what node 0 says, and reports what happens here.
import { withPort } from "./addresses.js";
import { Crew } from "./crew.js";
import type { Outcome } from "./judge.js";
import type { Duty } from "./lead.js";
import { NodeClient, type NodeOrder, type Start } from "./node-link.js";
import { nameRanks } from "./rendezvous.js";
import { type EndingSignal, listenForEnd, signalOf, signalStatus } from "./signals.js";

const tickSeconds = 0.2;

/** Serves a run until it is over. Throws ERR_ONEHOUR_RENDEZVOUS where node 0 cannot be found. */
export async function follow(duty: Duty): Promise<Outcome> {
  return await new Follower(duty).run();
}

class Follower {
  private link: NodeClient | undefined;
  private crew: Crew | undefined;
  private start: Start | undefined;
  private interruption: EndingSignal | undefined;
  private readonly search = new AbortController();
  /** The outcome that node 0 has told us, while the workers end or at the very end. */
  private outcome: Outcome | undefined;
  private over: () => void = () => {};

  constructor(private readonly duty: Duty) {}

  async run(): Promise<Outcome> {
    const unlisten = listenForEnd((signal) => this.interrupt(signal));
    const tick = setInterval(() => this.link?.tick(), tickSeconds * 1000);
    const isOver = new Promise<undefined>((resolve) => {
      this.over = () => resolve(undefined);
    });
    try {
      this.link = await this.join();
      if (this.link === undefined) return this.interrupted();
      const how = await Promise.race([isOver, this.link.lost]);
      if (how !== undefined) await this.endAlone(how);
      await this.crew?.ended;
      return this.outcome ?? this.interrupted();
    } finally {
      clearInterval(tick);
      this.crew?.kill();
      unlisten();
      await this.link?.close();
    }
  }

  /** Finds node 0; undefined where a signal ended the search. */
  private async join(): Promise<NodeClient | undefined> {
    const { cluster, facts, say } = this.duty;
    const { nodeRank, nodes, rendezvous, token, startSeconds } = cluster;
    const address = rendezvous!;
    say(
      `node ${nodeRank} of ${nodes}, looking for node 0 at ${withPort(address.host, address.port)}`,
    );
    const search = { node: nodeRank, nodes, address, token, timeoutSeconds: startSeconds };
    try {
      return await NodeClient.join(
        { ...search, signal: this.search.signal, remark: say },
        facts,
        (order) => this.take(order),
      );
    } catch (error) {
      if (this.search.signal.aborted) return undefined;
      throw error;
    }
  }

  private take(order: NodeOrder): void {
    if (order.type === "start") this.begin(order);
    if (order.type === "signal") this.crew?.signal(order.signal);
    if (order.type === "stop") this.crew?.stop();
    if (order.type === "stop" || order.type === "over") this.outcome = order.outcome;
    if (order.type === "over") this.over();
  }

  private begin(start: Start): void {
    const { link, duty } = this;
    if (link === undefined) return;
    const { place, worldSize, nodes, lead, port, brief } = start;
    const { node, first, workers } = place;
    const ranks = Array.from({ length: workers }, (_, local) => first + local);
    this.start = start;
    duty.say(
      `node ${node} of ${nodes}: ${nameRanks(ranks)} of the run that node 0 on ${lead} leads`,
    );
    const rendezvous = withPort(link.serverAddress, port);
    const token = link.tokenOf(start);
    this.crew = new Crew(
      duty.crew(brief),
      { first, workers, worldSize, rendezvous, token },
      (report) => {
        if (report.type === "beat") link.beat(report.rank, report.beat);
        else link.tell(report);
      },
    );
  }

  private interrupt(signal: EndingSignal): void {
    if (this.interruption !== undefined) this.crew?.signal("SIGKILL");
    this.interruption ??= signal;
    if (this.link === undefined) this.search.abort();
    else this.link.tell({ type: "signal", signal });
  }

  private interrupted(): Outcome {
    return { status: signalStatus(this.interruption ?? "SIGTERM"), details: [] };
  }

  /** Ends the workers where node 0 is gone without a word. */
  private async endAlone(how: string): Promise<void> {
    const { start, duty } = this;
    this.crew?.stop();
    const ranks = Array.from({ length: duty.cluster.workersPerNode }, (_, rank) => rank);
    const host = start === undefined ? "" : `host ${start.lead}, `;
    this.outcome ??= {
      status: 1,
      cause: `node 0 (${host}${nameRanks(ranks)}) ${how}`,
      code: "ERR_ONEHOUR_NODE_LOST",
      details: [],
    };
  }
}

/** How the run ended, as the last line of a node that is not node 0. */
export function lastWords({ cluster }: Duty, { status }: Outcome): string {
  const { nodeRank, nodes } = cluster;
  const signal = signalOf(status);
  const end = signal === undefined ? "has finished" : `was ended by ${signal}`;
  return `node ${nodeRank} of ${nodes}: the run ${end}`;
}
