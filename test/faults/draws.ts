// Draws everything that a seed decides, so that the seed alone repeats a run.
import { Purpose, Random } from "../../lib/data/random.js";

const stream = 31; // apart from the streams that training draws from

export class Draws {
  private readonly random: Random;

  constructor(seed: number) {
    this.random = new Random(seed, Purpose.order, stream);
  }

  /** A number in [0, 1). */
  share(): number {
    return this.random.uniform();
  }

  /** An integer in [0, bound). */
  below(bound: number): number {
    return this.random.below(bound);
  }

  chance(probability: number): boolean {
    return this.share() < probability;
  }

  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)]!;
  }
}
