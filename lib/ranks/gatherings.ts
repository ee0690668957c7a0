// The values that the members of a rendezvous give by key, until all of them have.

interface Gathering {
  /** Whether the values are for rank 0 alone. */
  isForFirst: boolean;
  values: Map<number, string>;
  since: Map<number, number>;
  deadline: NodeJS.Timeout | undefined;
}

interface GatheringsOptions {
  worldSize: number;
  /** Takes the values of all, in rank order, when the last has come. */
  onComplete: (key: string, values: string[], isForFirst: boolean) => void;
  /** Takes why a gathering has failed, once for each rank that waits. */
  onFailure: (key: string, rank: number, message: string) => void;
  /** Words for ranks. */
  names: (ranks: readonly number[]) => string;
}

export class Gatherings {
  private readonly all = new Map<string, Gathering>();
  private timeoutSeconds: number | undefined;

  constructor(private readonly options: GatheringsOptions) {}

  /** The key that a rank waits at and since when (performance.now()). */
  waiting(rank: number): { key: string; since: number } | undefined {
    for (const [key, { since }] of this.all) {
      const start = since.get(rank);
      if (start !== undefined) return { key, since: start };
    }
    return undefined;
  }

  has(key: string, rank: number): boolean {
    return this.all.get(key)?.values.has(rank) === true;
  }

  /** Takes a rank's value, which is not there yet. */
  add(key: string, rank: number, value: string, isForFirst: boolean): void {
    const gathering = this.all.get(key) ?? this.begin(key, isForFirst);
    gathering.values.set(rank, value);
    gathering.since.set(rank, performance.now());
    if (gathering.values.size < this.options.worldSize) return;
    this.end(key);
    const values = this.ranks.map((rank) => gathering.values.get(rank)!);
    this.options.onComplete(key, values, gathering.isForFirst);
  }

  private get ranks(): number[] {
    return Array.from({ length: this.options.worldSize }, (_, rank) => rank);
  }

  private begin(key: string, isForFirst: boolean): Gathering {
    const gathering: Gathering = {
      ...{ isForFirst, values: new Map(), since: new Map() },
      deadline: undefined,
    };
    this.all.set(key, gathering);
    this.expect(key, gathering);
    return gathering;
  }

  /** From here on each gathering fails after so many seconds; undefined lets those to come wait for ever. */
  expectWithin(seconds: number | undefined): void {
    this.timeoutSeconds = seconds;
    for (const [key, gathering] of this.all) this.expect(key, gathering);
  }

  private expect(key: string, gathering: Gathering): void {
    const { timeoutSeconds: seconds } = this;
    if (seconds === undefined || !Number.isFinite(seconds) || gathering.deadline) return;
    gathering.deadline = setTimeout(() => {
      const who = this.options.names(this.ranks.filter((rank) => !gathering.values.has(rank)));
      this.failOne(key, `${who} did not come to "${key}" within ${seconds} s`);
    }, seconds * 1000);
  }

  /** All of them fail; `message` says why, for a key. */
  fail(message: (key: string) => string): void {
    for (const key of [...this.all.keys()]) this.failOne(key, message(key));
  }

  private failOne(key: string, message: string): void {
    const ranks = [...(this.all.get(key)?.values.keys() ?? [])];
    this.end(key);
    for (const rank of ranks) this.options.onFailure(key, rank, message);
  }

  private end(key: string): void {
    clearTimeout(this.all.get(key)?.deadline);
    this.all.delete(key);
  }

  /** Forgets them all: nobody hears of them any more. */
  clear(): void {
    for (const key of [...this.all.keys()]) this.end(key);
  }
}
