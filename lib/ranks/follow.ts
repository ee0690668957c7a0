// The supervisor of a node other than node 0: does what node 0 says, and reports what happens here.
import { OnehourError } from "../errors.js";
import { plural } from "../text/words.js";
import { withPort } from "./addresses.js";
import type { Cluster } from "./cluster.js";
import { Crew } from "./crew.js";
import { failed, type NodePlace, type Outcome } from "./judge.js";
import { type Duty, restartVariable } from "./lead.js";
import { NodeClient, type NodeOrder, type Start } from "./node-link.js";
import { failure, nameRanks } from "./rendezvous.js";
import { type EndingSignal, listenForEnd, signalOf, signalStatus } from "./signals.js";

const tickSeconds = 0.2;
// A supervisor on a busy machine may be late.
const leastSilence = 10;

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
  /** The orders so far are carried out, one after another. */
  private obeyed: Promise<void> = Promise.resolve();

  constructor(private readonly duty: Duty) {}

  async run(): Promise<Outcome> {
    const { cluster, say } = this.duty;
    const unlisten = listenForEnd((signal) => this.interrupt(signal));
    const tick = setInterval(() => this.link?.tick(), tickSeconds * 1000);
    const isOver = new Promise<undefined>((resolve) => {
      this.over = () => resolve(undefined);
    });
    let loss: string | undefined;
    try {
      for (;;) {
        this.link = await this.join(loss);
        if (this.link === undefined) return this.interrupted();
        const how = await Promise.race([isOver, this.link.lost]);
        await this.obeyed;
        if (how !== undefined) this.crew?.stop();
        await this.crew?.ended;
        if (how === undefined || this.outcome !== undefined || this.interruption !== undefined)
          return this.outcome ?? this.interrupted();
        loss = this.wordLoss(how);
        if (cluster.maxRestarts === 0) return failed("ERR_ONEHOUR_NODE_LOST", loss);
        say(`${loss}. Waiting ${cluster.startSeconds} s for it to come back`);
        const { link } = this;
        this.link = undefined;
        await link.close();
      }
    } finally {
      clearInterval(tick);
      this.crew?.kill();
      unlisten();
      await this.link?.close();
    }
  }

  /** Finds node 0, which may be lost; undefined where a signal ended the search. */
  private async join(loss: string | undefined): Promise<NodeClient | undefined> {
    const { cluster, facts, say } = this.duty;
    const { nodeRank, nodes, rendezvous, token, startSeconds } = cluster;
    const address = rendezvous!;
    if (loss === undefined)
      say(
        `node ${nodeRank} of ${nodes}, looking for node 0 at ${withPort(address.host, address.port)}`,
      );
    const search = {
      ...{ node: nodeRank, nodes, address, token, timeoutSeconds: startSeconds },
      silentSeconds: Math.max(this.duty.timeoutSeconds, leastSilence),
    };
    try {
      return await NodeClient.join(
        { ...search, signal: this.search.signal, remark: say },
        facts,
        (order) => {
          this.obeyed = this.obeyed.then(() => this.obey(order));
        },
      );
    } catch (error) {
      if (this.search.signal.aborted) return undefined;
      if (loss === undefined) throw error;
      const { code, message } = error as OnehourError;
      throw new OnehourError(code, `${loss}. It did not come back: ${message}`);
    }
  }

  private async obey(order: NodeOrder): Promise<void> {
    const { cluster, say } = this.duty;
    if (order.type === "start") await this.begin(order).catch((error) => this.fail(order, error));
    if (order.type === "standBy")
      say(`node ${cluster.nodeRank} of ${cluster.nodes} stands by: ${order.why}`);
    if (order.type === "signal") this.crew?.signal(order.signal);
    if (order.type !== "stop" && order.type !== "over") return;
    this.outcome = order.outcome;
    this.crew?.stop();
    if (order.type === "over") this.over();
  }

  private async begin(start: Start): Promise<void> {
    const { link, duty } = this;
    if (link === undefined) return;
    // Those of the start before, if node 0 has not waited for their end.
    this.crew?.kill();
    await this.crew?.ended;
    this.outcome = undefined;
    this.start = start;
    const { place, worldSize, lead, port, brief, restarts } = start;
    requireOwn(place, worldSize, duty.cluster);
    const { node, first, workers } = place;
    const ranks = Array.from({ length: workers }, (_, local) => first + local);
    const again = restarts === 0 ? "" : `, restart ${restarts}`;
    duty.say(
      `node ${node} of ${duty.cluster.nodes}: ${nameRanks(ranks)} of the run that node 0 on ${lead} leads` +
        again,
    );
    const rendezvous = withPort(link.serverAddress, port);
    const token = link.tokenOf(start);
    const { env, ...options } = duty.crew(brief);
    this.crew = new Crew(
      { ...options, env: { ...env, ...restartVariable(restarts) } },
      { first, workers, worldSize, rendezvous, token },
      (report) => {
        if (report.type === "beat") link.beat(report.rank, report.beat);
        else link.tell(report);
      },
    );
  }

  /** Reports that this node cannot start its workers. */
  private fail({ place }: Start, { code, message }: OnehourError): void {
    const text = `node ${place.node} (host ${place.host}): ${message}`;
    this.link?.tell({
      type: "failure",
      failure: { rank: undefined, message: text, code, details: [], secondary: false },
    });
    this.link?.tell({ type: "ended" });
  }

  private interrupt(signal: EndingSignal): void {
    if (this.interruption !== undefined) {
      this.crew?.signal("SIGKILL");
      this.over(); // node 0 need not agree
    }
    this.interruption ??= signal;
    if (this.link === undefined) this.search.abort();
    else this.link.tell({ type: "signal", signal });
  }

  private interrupted(): Outcome {
    return { status: signalStatus(this.interruption ?? "SIGTERM"), details: [] };
  }

  /** That node 0 is gone, and how that was noticed. */
  private wordLoss(how: string): string {
    const host = this.start === undefined ? "" : `host ${this.start.lead}, `;
    const { workersPerNode } = this.duty.cluster;
    const ranks = Array.from({ length: workersPerNode }, (_, rank) => rank);
    return `node 0 (${host}${nameRanks(ranks)}) ${how}`;
  }
}

/** Refuses a place that is another's, above all rank 0's, which writes where it is told to. */
function requireOwn(place: NodePlace, worldSize: number, cluster: Cluster): void {
  const { nodes, nodeRank, workersPerNode } = cluster;
  const { node, first, workers } = place;
  const isWithin = first >= workers && first + workers <= worldSize && worldSize <= nodes * workers;
  if (node === nodeRank && workers === workersPerNode && isWithin) return;
  throw failure(
    `node 0 says to start ${plural(workers, "worker")} of node ${node} from rank ${first} on, of ${worldSize}, ` +
      `which are none of node ${nodeRank}'s. Does another command listen at --rendezvous?`,
  );
}

/** How the run ended, as the last line of a node that is not node 0. */
export function lastWords({ cluster }: Duty, { status }: Outcome): string {
  const { nodeRank, nodes } = cluster;
  const signal = signalOf(status);
  const end = signal === undefined ? "has finished" : `was ended by ${signal}`;
  return `node ${nodeRank} of ${nodes}: the run ${end}`;
}
