// Hosts on one switch, whose names all of them and the machine in front resolve.
import { writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { type Card, Host, Switch } from "./hosts.js";

interface Addresses {
  /** This machine's, on the switch. */
  front: string;
  /** That of a host, counted from 1. */
  of: (host: number) => string;
  prefix: number;
}

export const ipv4: Addresses = {
  front: "10.77.0.254",
  of: (host) => `10.77.0.${host}`,
  prefix: 24,
};

export const ipv6: Addresses = { front: "fd77::fe", of: (host) => `fd77::${host}`, prefix: 64 };

interface Options {
  addresses?: Addresses;
  /** The network cards of a host, counted from 1; by default the one that leads to the others. */
  cards?: (host: number, lan: Card) => Card[];
  /** A host's own /etc/hosts; by default all share that of the machine in front. */
  etcHosts?: (host: number) => string;
}

export class Cluster {
  readonly hosts: Host[] = [];
  readonly addresses: Addresses;
  private readonly lan: Switch;
  private readonly switches: Set<Switch>;

  private constructor(
    private readonly names: readonly string[],
    private readonly options: Options,
  ) {
    this.addresses = options.addresses ?? ipv4;
    this.lan = new Switch("lan", `${this.addresses.front}/${this.addresses.prefix}`);
    this.switches = new Set([this.lan]);
  }

  /** Starts hosts; a name may have aliases after it: "n1 n1.example". */
  static async start(names: readonly string[], options: Options = {}): Promise<Cluster> {
    const cluster = new Cluster(names, options);
    const { addresses } = cluster;
    const lines = names.map((name, index) => `${addresses.of(index + 1)} ${name}`);
    writeEtcHosts([`${addresses.front} ${hostname()}`, ...lines]);
    try {
      for (const index of names.keys()) await cluster.boot(index);
    } catch (error) {
      await cluster.end();
      throw error;
    }
    return cluster;
  }

  /** Starts a host, for the first time or again after it was powered off. */
  async boot(index: number): Promise<Host> {
    const { addresses, options } = this;
    const number = index + 1;
    const card = { to: this.lan, addresses: [`${addresses.of(number)}/${addresses.prefix}`] };
    const cards = options.cards?.(number, card) ?? [card];
    for (const { to } of cards) this.switches.add(to);
    const [name] = this.names[index]!.split(" ");
    const etcHosts = options.etcHosts?.(number);
    const host = await Host.start(name!, {
      cards,
      ...(etcHosts === undefined ? {} : { etcHosts }),
    });
    this.hosts[index] = host;
    return host;
  }

  /** Powers all off; a second call does nothing. */
  async end(): Promise<void> {
    for (const host of this.hosts.splice(0)) await host.powerOff();
    for (const each of this.switches) each.remove();
    this.switches.clear();
    writeEtcHosts([`127.0.1.1 ${hostname()}`]);
  }
}

/** Writes /etc/hosts of the machine in front (see scripts/namespaces), which the hosts share. */
function writeEtcHosts(lines: readonly string[]): void {
  writeFileSync("/run/hosts", `127.0.0.1 localhost\n${lines.join("\n")}\n`);
}
