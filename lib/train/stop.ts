// Ends a run on a signal: all ranks after the same step, whichever of them the signal reached.

import { hasLauncher } from "../ranks/report.js";
import { isGuarded, listenForEnd } from "../ranks/signals.js";
import { expectEnd, type World } from "../ranks/world.js";
import { AgreedStep } from "./agreed-step.js";

/**
 * Listens for signals from its creation until `dispose`, the command after a signal until its process ends; a second
 * signal kills a process without a launcher.
 */
export class Stop {
  /** The signal that asked this rank, or another, to stop. */
  signal: NodeJS.Signals | undefined;
  private readonly agreed: AgreedStep;
  private readonly ignoreSignals: () => void;
  private readonly unlisten: () => void;

  /** `committed` as an AgreedStep takes it. */
  constructor(
    private readonly world: World,
    committed: () => number,
  ) {
    this.agreed = new AgreedStep(world, "stop", committed);
    this.ignoreSignals = listenForEnd((signal) => {
      // A launcher passes each signal on, and engines send it to the launcher and to its workers too: there a
      // second one may be the first again. It is the launcher who kills its workers.
      if (!hasLauncher()) this.ignoreSignals();
      // After the agreement the others stop anyway.
      if (!this.agreed.asked) this.world.announce("stop", signal);
      this.request(signal);
    });
    // A rank's own signal may still follow another's. It is not a second one, so the rank still listens.
    this.unlisten = world.listen("stop", (signal) => this.request(signal as NodeJS.Signals));
  }

  get requested(): boolean {
    return this.signal !== undefined;
  }

  private request(signal: NodeJS.Signals): void {
    this.signal ??= signal;
    expectEnd(this.world);
    void this.agreed.agree(); // who waits for it sees its error
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
    // The command itself, as a rank of an engine, may get its own signal later than the first rank did. A launcher
    // knows what it has sent to its workers, and a user's program has its own signals back.
    const isCommand = isGuarded() && !hasLauncher();
    if (!this.requested || !isCommand) this.ignoreSignals();
    this.unlisten();
  }
}
