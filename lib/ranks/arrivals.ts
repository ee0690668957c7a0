// Who has come to a meeting and who is missing, in words.
import { shown } from "../text/words.js";
import { inWords, type MemberKind, nameMembers } from "./rendezvous.js";

const mostHosts = 8; // that are named at once
const mostRefusals = 3;

/** Keeps the roll of one meeting. */
export class Arrivals {
  /** Of everybody who ever came. */
  private readonly hosts = new Map<number, string>();
  private readonly here = new Set<number>();
  private readonly refusals = new Set<string>();

  constructor(
    private readonly worldSize: number,
    private readonly kind: MemberKind,
  ) {}

  /** A member is here, from a host. */
  come(rank: number, host: string): void {
    this.hosts.set(rank, host);
    this.here.add(rank);
  }

  leave(rank: number): void {
    this.here.delete(rank);
  }

  /** Somebody was sent away, for this reason. */
  refuse(reason: string): void {
    if (this.refusals.size < mostRefusals) this.refusals.add(reason);
  }

  get complete(): boolean {
    return this.here.size === this.worldSize;
  }

  hostOf(rank: number): string {
    return this.hosts.get(rank) ?? "unknown";
  }

  /** "rank 2"; "rank 2 on host b" where there are several hosts. */
  name(rank: number): string {
    const several = new Set(this.hosts.values()).size > 1;
    const host = this.hosts.get(rank);
    return `${this.kind} ${rank}${several && host !== undefined ? ` on host ${host}` : ""}`;
  }

  /** The first of those, and how many others. */
  names(ranks: readonly number[]): string {
    return ranks.length === 1 ? this.name(ranks[0]!) : nameMembers(this.kind, ranks);
  }

  /** "ranks 2 and 3 of 4" */
  missing(): string {
    const all = Array.from({ length: this.worldSize }, (_, rank) => rank);
    const missing = all.filter((rank) => !this.here.has(rank));
    return `${nameMembers(this.kind, missing)} of ${this.worldSize}`;
  }

  /** "(ranks 0 and 1 are here, from hosts a and b)", and who was sent away. */
  present(): string {
    const ranks = [...this.here].sort((a, b) => a - b);
    const hosts = [...new Set(ranks.map((rank) => this.hostOf(rank)))];
    const named =
      hosts.length > mostHosts
        ? [...hosts.slice(0, mostHosts - 1), `${hosts.length - mostHosts + 1} more`]
        : hosts;
    const who =
      ranks.length === 0
        ? "nobody is here"
        : `${nameMembers(this.kind, ranks)} ${ranks.length === 1 ? "is" : "are"} here, from ` +
          `host${hosts.length === 1 ? "" : "s"} ${inWords(named)}`;
    return `(${[who, ...this.refusals].join("; ")})`;
  }
}

/** A host's name as a peer gave it: short, and safe to show. */
export function hostName(given: unknown): string {
  return typeof given === "string" && /^[\w.:%-]{1,64}$/.test(given)
    ? given
    : shown(given).slice(0, 64);
}
