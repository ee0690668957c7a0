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

/** A host without the brackets around an IPv6 address. */
export const bare = (host: string) => host.replace(/^\[(.*)\]$/, "$1");

/** The host and the port of a text, an IPv6 address in brackets; undefined where it is no such text. */
export function parseAddress(text: string): Address | undefined {
  const [, host = "", digits = ""] = /^(\[\S+\]|[^\s:]+):(\d{1,5})$/.exec(text) ?? [];
  const port = Number(digits);
  return host === "" || port < 1 || port > 65_535 ? undefined : { host: bare(host), port };
}
