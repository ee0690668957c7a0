// Ends a run after the step at hand on SIGTERM or SIGINT: all ranks after the same step.

import type { Team } from "./team.js";

const signals = ["SIGTERM", "SIGINT"] as const;

/** Listens for signals from its creation until `dispose`; a second signal kills as ever. */
export class Stop {
  /** The signal that asked this rank to stop. */
  signal: NodeJS.Signals | undefined;
  private agreement: Promise<number> | undefined;
  private readonly listener = (signal: NodeJS.Signals) => this.request(signal);

  /**
   * `committed` tells the number of steps that this rank has queued or is about to, which the
   * other ranks must run too.
   */
  constructor(
    private readonly team: Team,
    private readonly committed: () => number,
  ) {
    for (const signal of signals) process.once(signal, this.listener);
  }

  get requested(): boolean {
    return this.signal !== undefined;
  }

  private request(signal: NodeJS.Signals): void {
    this.dispose();
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
    for (const signal of signals) process.off(signal, this.listener);
  }
}
