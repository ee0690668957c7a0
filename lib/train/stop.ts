// Ends a run after the step at hand on SIGTERM, SIGINT or SIGHUP: all ranks after the same step,
// whichever of them the signal reached.

import { AgreedStep } from "./agreed-step.js";
import type { Team } from "./team.js";

const signals = ["SIGTERM", "SIGINT", "SIGHUP"] as const;

/** Listens for signals from its creation until `dispose`; a second signal kills as ever. */
export class Stop {
  /** The signal that asked this rank, or another, to stop. */
  signal: NodeJS.Signals | undefined;
  private readonly agreed: AgreedStep;
  private readonly listener = (signal: NodeJS.Signals) => {
    this.ignoreSignals();
    // After the agreement the others stop anyway.
    if (!this.agreed.asked) this.team.announce("stop", signal);
    this.request(signal);
  };
  private readonly unlisten: () => void;

  /** `committed` as an AgreedStep takes it. */
  constructor(
    private readonly team: Team,
    committed: () => number,
  ) {
    this.agreed = new AgreedStep(team, "stop", committed);
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

  get pending(): boolean {
    return this.agreed.pending;
  }

  /** Waits until all ranks have agreed after which step they stop. */
  async agree(): Promise<void> {
    await this.agreed.agree();
  }

  /** Whether all ranks stop after these steps. */
  isDue(step: number): boolean {
    return this.agreed.at !== undefined && step >= this.agreed.at;
  }

  dispose(): void {
    this.ignoreSignals();
    this.unlisten();
  }

  private ignoreSignals(): void {
    for (const signal of signals) process.off(signal, this.listener);
  }
}
