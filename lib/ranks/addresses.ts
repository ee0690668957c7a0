// Addresses: what a name means on this machine, and how an address is written with a port.
import { lookup } from "node:dns/promises";
import { isIPv6 } from "node:net";

/** All addresses of a name, in the system's order. Rejects with the resolver's error. */
export async function resolveAll(host: string): Promise<string[]> {
  const found = await lookup(host, { all: true, verbatim: true });
  return [...new Set(found.map(({ address }) => address))];
}

/** "10.0.0.1:29500", "[fd00::1]:29500" */
export const withPort = (host: string, port: number) =>
  `${isIPv6(host) ? `[${host}]` : host}:${port}`;

/** A host and a port. */
export interface Address {
  host: string;
  port: number;
}

/** The host and the port of a text; undefined where it is no such text. */
export function parseAddress(text: string): Address | undefined {
  const [, host = "", digits = ""] = /^(\S+):(\d{1,5})$/.exec(text) ?? [];
  const port = Number(digits);
  if (host === "" || port < 1 || port > 65_535) return undefined;
  return { host: host.replace(/^\[(.*)\]$/, "$1"), port };
}
