// Ranks of several hosts choose the addresses of their collectives and say which, and why.
import { isBuilt } from "../device/native.js";
import { ownAddress } from "./interfaces.js";
import { failure, inWords, thisHost } from "./rendezvous.js";
import type { RendezvousClient } from "./rendezvous-client.js";

/** What a rank tells the others: its host's address, or why there is none. */
type Report = { host: string } & (
  | { address: string; interface?: string | undefined; why: string }
  | { problem: string }
);

const mostHosts = 8; // that are named for one choice

/**
 * Chooses this rank's address, for the native side in ONEHOUR_OWN_ADDRESS. Resolves when all ranks have, to
 * words for the user: what was taken where, and why.
 *
 * @throws OnehourError ERR_ONEHOUR_ENVIRONMENT where this host has no such address, and
 * ERR_ONEHOUR_RENDEZVOUS naming another rank and host that has none.
 */
export async function shareAddresses(rendezvous: RendezvousClient): Promise<string> {
  let problem: unknown;
  let report: Report;
  const host = thisHost();
  try {
    const own = await ownAddress(rendezvous.localAddress);
    process.env.ONEHOUR_OWN_ADDRESS = own.address;
    report = { host, ...own };
  } catch (error) {
    problem = error;
    report = { host, problem: (error as Error).message };
  }
  const all = (await rendezvous.gather("addresses", JSON.stringify(report))).map(
    (text) => JSON.parse(String(text)) as Report,
  );
  if (problem !== undefined) throw problem;
  for (const [rank, one] of all.entries())
    if ("problem" in one) throw failure(`rank ${rank} on host ${one.host}: ${one.problem}`);
  return describe(all);
}

/** "their sockets go by eth0, the way to rank 0 (a 10.0.0.1, b 10.0.0.2)" */
export function describe(reports: readonly Report[]): string {
  const choices = new Map<string, Set<string>>();
  for (const report of reports) {
    if ("problem" in report) continue;
    const choice = `${report.interface ?? "an address"}, ${report.why}`;
    const hosts = choices.get(choice) ?? new Set();
    choices.set(choice, hosts.add(`${report.host} ${report.address}`));
  }
  const parts = [...choices].map(([choice, hosts]) => {
    const named = [...hosts].slice(0, mostHosts);
    if (hosts.size > mostHosts) named.push(`${hosts.size - mostHosts} more`);
    return `${choice} (${named.join(", ")})`;
  });
  const { NCCL_SOCKET_IFNAME, ONEHOUR_INTERFACE } = process.env;
  const nccl = NCCL_SOCKET_IFNAME
    ? `NCCL's by NCCL_SOCKET_IFNAME=${NCCL_SOCKET_IFNAME}`
    : ONEHOUR_INTERFACE
      ? "NCCL's too"
      : "NCCL's as it chooses (NCCL_SOCKET_IFNAME)";
  return `their sockets go by ${inWords(parts)}${isBuilt("cuda") ? `, ${nccl}` : ""}`;
}
