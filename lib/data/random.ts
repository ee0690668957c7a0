// The counter-based random generator: every draw is a function of its key, so order, augmentation
// and initial weights do not depend on timing, on the number of workers or on what was drawn before.

const rotations = [13, 15, 26, 6, 17, 29, 16, 24] as const;
const parity = 0x1bd11bda;

/**
 * Threefry-2x32 with 20 rounds (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", 2011):
 * writes the two 32-bit words of block (counter0, counter1) under key (key0, key1) to `out`.
 */
export function threefry2x32(
  key0: number,
  key1: number,
  counter0: number,
  counter1: number,
  out: Uint32Array,
): void {
  const key2 = parity ^ key0 ^ key1;
  let x0 = (counter0 + key0) | 0;
  let x1 = (counter1 + key1) | 0;
  for (let group = 0; group < 5; group++) {
    const base = (group & 1) << 2;
    for (let round = 0; round < 4; round++) {
      const rotation = rotations[base + round]!;
      x0 = (x0 + x1) | 0;
      x1 = ((x1 << rotation) | (x1 >>> (32 - rotation))) ^ x0;
    }
    const next = group + 1;
    const a = next % 3 === 0 ? key0 : next % 3 === 1 ? key1 : key2;
    const b = (next + 1) % 3 === 0 ? key0 : (next + 1) % 3 === 1 ? key1 : key2;
    x0 = (x0 + a) | 0;
    x1 = (x1 + b + next) | 0;
  }
  out[0] = x0;
  out[1] = x1;
}

/** What a stream of random numbers is for; streams of different purposes are independent. */
export const Purpose = { order: 1, augmentation: 2, weights: 3, synthetic: 4 } as const;
export type Purpose = (typeof Purpose)[keyof typeof Purpose];

/**
 * One stream of random numbers, named by (seed, purpose, a, b): the same name gives the same numbers
 * on every machine. `seed` is an integer in [0, 2^53), `a` and `b` are 32-bit unsigned integers.
 */
export class Random {
  private readonly key0: number;
  private readonly key1: number;
  private readonly block = new Uint32Array(2);
  private counter = 0;
  private left = 0;

  constructor(
    seed: number,
    purpose: Purpose,
    a = 0,
    private readonly b = 0,
  ) {
    threefry2x32(seed | 0, Math.floor(seed / 2 ** 32) | 0, purpose, a, this.block);
    this.key0 = this.block[0]!;
    this.key1 = this.block[1]!;
  }

  /** An unsigned 32-bit integer. */
  uint32(): number {
    if (this.left === 0) {
      threefry2x32(this.key0, this.key1, this.b, this.counter++, this.block);
      this.left = 2;
    }
    return this.block[2 - this.left--]!;
  }

  /** A number in [0, 1). */
  uniform(): number {
    return this.uint32() / 2 ** 32;
  }

  /** An integer in [0, bound); no value is likelier than another by more than bound / 2^32. */
  below(bound: number): number {
    return Math.floor((this.uint32() * bound) / 2 ** 32);
  }

  /** Two independent draws of the standard normal distribution (Box and Muller). */
  normals(): [number, number] {
    const radius = Math.sqrt(-2 * Math.log((this.uint32() + 1) / 2 ** 32));
    const angle = 2 * Math.PI * this.uniform();
    return [radius * Math.cos(angle), radius * Math.sin(angle)];
  }
}

/** A 32-bit hash of a name (FNV-1a), to key a stream by it. */
export function hashName(name: string): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(name)) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}
