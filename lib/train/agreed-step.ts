// A step after which all ranks do something together, whichever of them asked for it: the furthest step that
// any rank has committed to.

import type { World } from "../ranks/world.js";

export class AgreedStep {
  /** Steps done when it is to happen; undefined until the ranks have agreed. */
  at: number | undefined;
  private agreement: Promise<number> | undefined;

  /**
   * `committed` returns the number of steps that this rank has queued or is about to, which the other
   * ranks must run too. No rank goes beyond it while the agreement is pending.
   */
  constructor(
    private readonly world: World,
    private readonly key: string,
    private readonly committed: () => number,
  ) {}

  get asked(): boolean {
    return this.agreement !== undefined;
  }

  get pending(): boolean {
    return this.asked && this.at === undefined;
  }

  /** Resolves with the step once every rank has called this. */
  agree(): Promise<number> {
    this.agreement ??= this.world.gather(this.key, String(this.committed())).then((steps) => {
      this.at = Math.max(...steps.map(Number));
      return this.at;
    });
    this.agreement.catch(() => {}); // its caller sees the error
    return this.agreement;
  }
}
