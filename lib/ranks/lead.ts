// The supervisor of node 0: waits for the other nodes, starts all workers, judges them, ends them together and
// starts them again where that may help. A run on one machine has no other nodes.
import { randomBytes } from "node:crypto";
import type { OnehourError } from "../errors.js";
import { seconds } from "../system/clock.js";
import { listenForLosses } from "../system/output.js";
import { timeLeft } from "../terminal/durations.js";
import type { Stage } from "../terminal/stages.js";
import { plural, shown } from "../text/words.js";
import { withPort } from "./addresses.js";
import type { Cluster } from "./cluster.js";
import { Crew, type CrewOptions, graceSeconds } from "./crew.js";
import { failed, Judge, type NodePlace, type Order, type Outcome } from "./judge.js";
import { listenWhere } from "./listen.js";
import { NodeServer } from "./node-link.js";
import type { NodeReport } from "./node-report.js";
import { nameMembers, thisHost } from "./rendezvous.js";
import { RendezvousServer } from "./rendezvous-server.js";
import { chooseNodes, type Restart, RestartPolicy } from "./restart-policy.js";
import { type EndingSignal, listenForEnd, signalStatus } from "./signals.js";

/** What a supervisor needs to know to serve a run. */
export interface Duty {
  cluster: Cluster;
  /** What must be alike on all nodes, by the name that a message gives it. */
  facts: Record<string, unknown>;
  /** On node 0, what the workers of every node are to know of a start. */
  brief: (start: StartPlan) => string | Promise<string>;
  /** On node 0, whether the run can have so many workers in all. */
  fits: (workers: number) => boolean;
  /** On node 0, the steps done, where they are known. */
  steps: () => number | undefined;
  /** This node's workers and their variables, for a brief of node 0's. */
  crew: (brief: string) => CrewOptions;
  timeoutSeconds: number;
  remedy?: string | undefined;
  /** Shows a line to the user. */
  say: (text: string) => void;
  /** Shows what is being waited for. */
  show: (stage: Stage) => void;
}

/** A start of all workers that is about to be. */
export interface StartPlan {
  /** k, on all nodes that take part. */
  workers: number;
  /** Of a start after a failure. */
  restart?: Restart;
}

const tickSeconds = 0.2;
// From the end of the run until the other nodes must have heard of it.
const farewellSeconds = 3;
// After a failure a node that is started anew may come back within this, before the run goes on without it.
const comebackSeconds = 10;

/** Leads a run of all nodes to its end. */
export async function lead(duty: Duty): Promise<Outcome> {
  const { nodes, rendezvous: address, token } = duty.cluster;
  const remark = duty.say;
  const leader = new Lead(duty);
  if (address === undefined) return await leader.run(undefined);
  const link = await NodeServer.open({ nodes, address, token, remark }, leader);
  try {
    return await leader.run(link);
  } finally {
    await link.close();
  }
}

/** Tells the nodes that wait for node 0, which is this one, why it cannot begin the run. */
export async function callOff(cluster: Cluster, error: Error): Promise<void> {
  const { nodes, rendezvous: address, token } = cluster;
  if (address === undefined) return;
  const { message, code } = error as OnehourError;
  const outcome = failed(code, `node 0 (host ${thisHost()}): ${message}`);
  let left = nodes - 1;
  const listener = {
    isRunning: false,
    heard: (node: number) => link?.tell(node, { type: "over", outcome }),
    lost: () => left--,
  };
  // Where it cannot listen, its own error counts.
  const link = await NodeServer.open({ nodes, address, token, remark: () => {} }, listener).catch(
    () => undefined,
  );
  const deadline = performance.now() + farewellSeconds * 1000;
  while (link && left > 0 && performance.now() < deadline)
    await new Promise((resume) => setTimeout(resume, 100));
  await link?.close();
}

class Lead {
  /** The other nodes that are here. */
  private readonly here = new Set<number>();
  /** Those of them that take part in the present start. */
  private team: readonly number[] = [];
  private link: NodeServer | undefined;
  private judge: Judge | undefined;
  private crew: Crew | undefined;
  private hasBegun = false;
  /** The signal that came before there were workers. */
  private interruption: EndingSignal | undefined;
  /** Why the run cannot start. */
  private refusal: Outcome | undefined;
  private wake: () => void = () => {};

  constructor(private readonly duty: Duty) {}

  get isRunning(): boolean {
    return this.hasBegun;
  }

  async run(link: NodeServer | undefined): Promise<Outcome> {
    this.link = link;
    const unlisten = listenForEnd((signal) => this.heard(0, { type: "signal", signal }));
    const unlistenLosses = listenForLosses((text) => this.crew?.tellLoss(text));
    const tick = setInterval(() => this.tick(), tickSeconds * 1000);
    try {
      const outcome = await this.starts();
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

  /** Starts all workers, and again after failures as long as that may help. */
  private async starts(): Promise<Outcome> {
    const { cluster, steps, say } = this.duty;
    const policy = new RestartPolicy(cluster.maxRestarts);
    let restart: Pick<Restart, "count" | "cause"> | undefined;
    for (;;) {
      const nodes = await this.assemble(restart !== undefined);
      if (nodes === undefined) return this.notStarted()!;
      const { outcome, isFinal } = await this.start(nodes, restart);
      const { cause, error, code } = outcome;
      if (cause === undefined || isFinal) return outcome;
      const failure = { cause, error, code, steps: steps() };
      const decision = policy.decide(failure, seconds());
      if (!decision.again)
        return decision.why === undefined
          ? outcome
          : { ...outcome, cause: `${cause}. It is not restarted: ${decision.why}` };
      for (const line of outcome.details) say(line);
      say(`restart ${decision.count}, after a failure: ${cause}`);
      restart = { count: decision.count, cause };
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
    const difference = differenceOf(this.duty.facts, facts);
    if (difference === undefined) {
      this.here.add(node);
      if (this.judge !== undefined)
        this.link?.tell(node, {
          type: "standBy",
          why: "the run goes on without it until it restarts",
        });
      return;
    }
    const [own, theirs] = difference;
    const outcome = failed(
      "ERR_ONEHOUR_RANKS_DIFFER",
      `node ${node} (host ${this.link?.hostOf(node)}) has ${theirs}, node 0 (host ${thisHost()}) has ${own}. ` +
        "Start all nodes with the same command and version",
    );
    this.link?.tell(node, { type: "over", outcome });
    // One that comes later ends no run that goes on.
    if (!this.hasBegun) this.refusal ??= outcome;
  }

  private notStarted(): Outcome | undefined {
    if (this.interruption !== undefined)
      return { status: signalStatus(this.interruption), details: [] };
    return this.refusal;
  }

  /**
   * Waits until all nodes are here, or after a while enough of them. Resolves to those that are to start;
   * undefined where something keeps the run from it.
   */
  private async assemble(isRestart: boolean): Promise<number[] | undefined> {
    const { cluster, fits } = this.duty;
    const { nodes, startSeconds, minNodes, workersPerNode } = cluster;
    const begin = performance.now();
    const patience =
      isRestart && minNodes < nodes ? Math.min(comebackSeconds, startSeconds) : startSeconds;
    if (isRestart && this.here.size < nodes - 1)
      this.duty.say(`waiting up to ${patience} s for ${this.link!.missing} to come back`);
    while (this.notStarted() === undefined) {
      const here = [0, ...this.here];
      if (here.length === nodes) return chooseNodes(here, nodes, workersPerNode, () => true);
      const seconds = (performance.now() - begin) / 1000;
      const some =
        seconds > patience ? chooseNodes(here, minNodes, workersPerNode, fits) : undefined;
      if (some !== undefined) return some;
      if (seconds > startSeconds)
        this.refusal = failed("ERR_ONEHOUR_RENDEZVOUS", this.link!.late(startSeconds));
      else {
        if (nodes > 1) this.showMissing(here.length, startSeconds - seconds);
        await this.change();
      }
    }
    return undefined;
  }

  private showMissing(here: number, left: number): void {
    const details = [`${here} of ${this.duty.cluster.nodes} are here`, `${timeLeft(left)} left`];
    this.duty.show({ text: `waiting for ${this.link!.missing}`, details, lineInterval: 60 });
  }

  /** Resolves when something has happened, or with the next tick. */
  private change(): Promise<void> {
    return new Promise((resolve) => {
      this.wake = resolve;
    });
  }

  /** Starts the workers of some nodes, and follows them to their end; a final one after which none may start. */
  private async start(
    nodes: readonly number[],
    again: Pick<Restart, "count" | "cause"> | undefined,
  ): Promise<{ outcome: Outcome; isFinal: boolean }> {
    const { cluster, timeoutSeconds, remedy } = this.duty;
    const { workersPerNode: workers, rendezvous: address } = cluster;
    const worldSize = nodes.length * workers;
    const standBy = [...this.here].filter((node) => !nodes.includes(node));
    const restart = again && { ...again, nodes: [...nodes], standBy };
    const plan = restart === undefined ? { workers: worldSize } : { workers: worldSize, restart };
    const brief = await this.duty.brief(plan);
    const obstacle = this.notStarted();
    if (obstacle !== undefined) return { outcome: obstacle, isFinal: true };
    this.team = nodes.slice(1);
    const places: NodePlace[] = nodes.map((node, i) => ({
      ...{ node, first: i * workers, workers },
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
    this.hasBegun = true;
    try {
      this.tellStart(places, { worldSize, brief, restart }, server.port, token);
      const rendezvous = withPort(server.ownAddress, server.port);
      const { env, ...options } = this.duty.crew(brief);
      this.crew = new Crew(
        { ...options, env: { ...env, ...restartVariable(restart?.count) } },
        { ...places[0]!, worldSize, rendezvous, token },
        (report) => judge.hear(0, report),
      );
      // One may have gone since it was counted.
      for (const node of this.team)
        if (!this.here.has(node)) judge.lose(node, "is lost: it left before its workers began");
      await judge.ended;
      this.crew.kill();
      await this.crew.ended;
      return { outcome: judge.outcome(), isFinal: judge.isInterrupted };
    } finally {
      this.judge = undefined;
      await server.close();
    }
  }

  /** Tells the other nodes what to start, or to stand by. */
  private tellStart(
    places: readonly NodePlace[],
    {
      worldSize,
      brief,
      restart,
    }: { worldSize: number; brief: string; restart?: Restart | undefined },
    port: number,
    token: string,
  ): void {
    const nodes = places.length;
    const base = { worldSize, nodes, port, brief, lead: thisHost(), restarts: restart?.count ?? 0 };
    for (const place of places.slice(1))
      this.link?.tellStart(place.node, { place, ...base }, token);
    const standBy = [...this.here].filter((node) => !this.team.includes(node));
    const why = `the run goes on with ${plural(nodes, "node")}, ${plural(worldSize, "worker")} in all`;
    for (const node of standBy) this.link?.tell(node, { type: "standBy", why });
    const idle =
      standBy.length > 0
        ? `; ${nameMembers("node", standBy)} stand${standBy.length === 1 ? "s" : ""} by`
        : "";
    if (nodes < this.duty.cluster.nodes) this.duty.say(`${why}${idle}`);
  }

  /** Has every node that takes part carry out an order. */
  private order(order: Order): void {
    for (const node of this.team) this.link?.tell(node, order);
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

/** What tells workers that they were started again. */
export const restartVariable = (count = 0): Record<string, string> =>
  count === 0 ? {} : { ONEHOUR_RESTART: String(count) };

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
