// Decides when a run saves within an epoch: by rank 0's clock, on all ranks after the same step.

import type { World } from "../ranks/world.js";
import { AgreedStep } from "./agreed-step.js";

export class Autosave {
  private agreed: AgreedStep | undefined;
  private count = 0;
  private since = performance.now();
  private readonly unlisten: () => void;

  /** `minutes` between two saves, 0 for none; `committed` as an AgreedStep takes it. */
  constructor(
    private readonly world: World,
    private readonly minutes: number,
    private readonly committed: () => number,
  ) {
    this.unlisten = world.listen("checkpoint", () => {
      if (world.rank !== 0) this.ask(); // rank 0 hears itself too
    });
  }

  /** On rank 0: asks all ranks to save, once the time has come. */
  askIfDue(): void {
    const { minutes } = this;
    if (minutes === 0 || this.agreed || performance.now() - this.since < 60_000 * minutes) return;
    this.world.announce("checkpoint", "");
    this.ask();
  }

  private ask(): void {
    this.agreed = new AgreedStep(this.world, `checkpoint-${this.count++}`, this.committed);
    this.agreed.agree();
  }

  get pending(): boolean {
    return this.agreed?.pending === true;
  }

  /** Waits until the ranks have agreed on a step, if they are about to. */
  async settled(): Promise<void> {
    await this.agreed?.agree();
  }

  /** Whether all ranks save after these steps; true once. */
  take(step: number): boolean {
    if (this.agreed?.at === undefined || step < this.agreed.at) return false;
    this.agreed = undefined;
    this.restart();
    return true;
  }

  /** Counts the minutes anew, from a save. */
  restart(): void {
    this.since = performance.now();
  }

  dispose(): void {
    this.unlisten();
  }
}
