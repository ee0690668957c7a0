// Hosts n1, n2, … on one switch, whose names all of them and the machine in front resolve.
import { writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { Host, Switch } from "./hosts.js";

export interface Cluster {
  /** This machine's address on the switch. */
  front: string;
  hosts: Host[];
  address: (index: number) => string;
  end: () => Promise<void>;
}

export async function startCluster(size: number): Promise<Cluster> {
  const front = "10.77.0.254";
  const address = (index: number) => `10.77.0.${index + 1}`;
  const lan = new Switch("lan", `${front}/24`);
  const names = Array.from({ length: size }, (_, index) => `n${index + 1}`);
  const lines = [
    `${front} ${hostname()}`,
    ...names.map((name, index) => `${address(index)} ${name}`),
  ];
  writeEtcHosts(lines);
  const hosts: Host[] = [];
  for (const [index, name] of names.entries())
    hosts.push(
      await Host.start(name, { cards: [{ to: lan, addresses: [`${address(index)}/24`] }] }),
    );
  const end = async () => {
    for (const host of hosts) await host.powerOff();
    lan.remove();
    writeEtcHosts([`127.0.1.1 ${hostname()}`]);
  };
  return { front, hosts, address, end };
}

/** Writes /etc/hosts of the machine in front (see scripts/engines), which the hosts share. */
function writeEtcHosts(lines: readonly string[]): void {
  writeFileSync("/run/hosts", `127.0.0.1 localhost\n${lines.join("\n")}\n`);
}
