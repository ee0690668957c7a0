// Ends a run after the step at hand on SIGTERM, SIGINT or SIGHUP: all ranks after the same step,
// whichever of them the signal reached.

import type { Team } from "./team.js";

const signals = ["SIGTERM", "SIGINT", "SIGHUP"] as const;

/** Listens for signals from its creation until `dispose`; a second signal kills as ever. */
export class Stop {
  /** The signal that asked this rank, or another, to stop. */
  signal: NodeJS.Signals | undefined;
  private agreement: Promise<number> | undefined;
  private readonly listener = (signal: NodeJS.Signals) => {
    this.ignoreSignals();
    // After the agreement the others stop anyway.
    if (this.agreement === undefined) this.team.announce("stop", signal);
    this.request(signal);
  };
  private readonly unlisten: () => void;

  /**
   * `committed` tells the number of steps that this rank has queued or is about to, which the
   * other ranks must run too.
   */
  constructor(
    private readonly team: Team,
    private readonly committed: () => number,
  ) {
    for (const signal of signals) process.once(signal, this.listener);
    // A rank's own signal may still follow another's, and is no second one: it stays listened to.
    this.unlisten = team.listen("stop", (signal) => this.request(signal as NodeJS.Signals));
  }

  get requested(): boolean {
    return this.signal !== undefined;
  }

  private request(signal: NodeJS.Signals): void {
    this.signal ??= signal;
    this.agree();
  }

  /** Steps after which all ranks stop: the most that any of them has committed to. */
  agree(): Promise<number> {
    this.agreement ??= this.team
      .gather("stop", String(this.committed()))
      .then((steps) => Math.max(...steps.map(Number)));
    this.agreement.catch(() => {}); // whoever awaits it sees the error
    return this.agreement;
  }

  dispose(): void {
    this.ignoreSignals();
    this.unlisten();
  }

  private ignoreSignals(): void {
    for (const signal of signals) process.off(signal, this.listener);
  }
}
