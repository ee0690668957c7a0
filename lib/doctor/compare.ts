// Compares what the ranks of a run are, and judges the pairs between them.
import { buildCommand } from "../device/native.js";
import { inWords } from "../ranks/rendezvous.js";
import type { MachineEnvironment } from "../system/environment.js";
import { bytesText, plural } from "../text/words.js";
import { type Diagnosis, good, type Line, warn } from "./check.js";
import type { PairRate } from "./pairs.js";

/** What a rank says of itself: the first of a host, what it found there. */
export interface Member {
  host: string;
  diagnosis?: Pick<Diagnosis, "checks" | "environment">;
}

/** The hosts, each as its first rank found it. */
const hostsOf = (members: readonly Member[]) =>
  members.flatMap(({ host, diagnosis }) => (diagnosis ? [{ host, ...diagnosis }] : []));

/** The versions of a machine, by what they are of. */
function versionsOf({ onehour, commit, node, libraries }: MachineEnvironment): Map<string, string> {
  const versions = new Map([
    ["onehour", commit === undefined ? onehour : `${onehour} (${commit.slice(0, 7)})`],
    ["Node", node],
  ]);
  for (const [name, { loaded, built }] of Object.entries(libraries))
    versions.set(name, loaded ?? built ?? "unknown");
  return versions;
}

/** The command that gives the other hosts what the first one has. */
function adviceFor(name: string, { onehour, commit, node }: MachineEnvironment): string {
  if (name === "Node") return `npx --yes n ${node.slice(1)}`;
  if (name !== "onehour") return buildCommand();
  return commit === undefined
    ? `npm install onehour@${onehour}`
    : `git checkout ${commit.slice(0, 7)} && scripts/setup`;
}

/** One line where all are alike, else one for each version that differs, with the hosts that have it. */
export function compareVersions(members: readonly Member[]): Line[] {
  const all = hostsOf(members).map(({ host, environment }) => ({
    host,
    versions: versionsOf(environment),
  }));
  const names = [...new Set(all.flatMap(({ versions }) => [...versions.keys()]))];
  const lines = names.flatMap((name): Line[] => {
    const hosts = new Map<string, string[]>();
    for (const { host, versions } of all) {
      const version = versions.get(name) ?? "none";
      hosts.set(version, [...(hosts.get(version) ?? []), host]);
    }
    if (hosts.size === 1) return [];
    const found = [...hosts].map(([version, on]) => `${version} on ${inWords(on)}`).join(", ");
    return [warn(name, `differs: ${found}`, adviceFor(name, hostsOf(members)[0]!.environment))];
  });
  if (lines.length > 0) return lines;
  const words = names.map((name) => `${name} ${all[0]!.versions.get(name)}`);
  return [good("versions", `alike on ${plural(all.length, "host")}: ${words.join(", ")}`)];
}

/** 12.3 µs, 1.2 ms */
const timeText = (seconds: number) =>
  seconds < 1e-3 ? `${(1e6 * seconds).toFixed(1)} µs` : `${(1e3 * seconds).toFixed(1)} ms`;

/** What shows why ranks of one machine exchange through sockets: as asked, or processes that do not see each other. */
export const socketsAdvice = () =>
  process.env.ONEHOUR_SHM_DISABLE ? "unset ONEHOUR_SHM_DISABLE" : "readlink /proc/self/ns/pid";

/** "790 MB/s, 23.3 µs" */
export const pairText = ({ bandwidth, latency }: PairRate) =>
  `${bytesText(bandwidth)}/s, ${timeText(latency)}`;

const showWays = "ip -brief address";
const showProcesses = "ps -eo pid,pcpu,args --sort=-pcpu | head";

/** A pair that is much slower than the others of its kind holds up all. */
const slow = 4;

/** A line for each pair. */
export function judgePairs(rates: readonly PairRate[], hosts: readonly string[]): Line[] {
  const kind = ({ ranks: [a, b] }: PairRate) => hosts[a] === hosts[b];
  return rates.map((rate) => {
    const { ranks, bandwidth, transport } = rate;
    const best = Math.max(
      ...rates.filter((one) => kind(one) === kind(rate)).map((one) => one.bandwidth),
    );
    const names = ranks.map((rank) => `${rank} on ${hosts[rank]}`).join(" and ");
    const found = `${pairText(rate)} (${names}, ${transport})`;
    const name = `ranks ${ranks.join(", ")}`;
    if (bandwidth < best / slow) {
      const slower = `${found}: less than a quarter of the best pair's`;
      return transport.startsWith("TCP")
        ? warn(name, `${slower}; is it the interface that is meant (ONEHOUR_INTERFACE)?`, showWays)
        : warn(name, `${slower}; does something else take the cores?`, showProcesses);
    }
    if (kind(rate) && transport === "Unix socket")
      return warn(name, `${found}: on one host memory is faster`, socketsAdvice());
    return good(name, found);
  });
}

/** All that rank 0 shows: what is not good on a host, versions, and pairs. */
export function judgeAll(
  members: readonly Member[],
  rates: readonly PairRate[],
): { title: string; lines: Line[] }[] {
  const hosts = hostsOf(members).map(({ host, checks }) => {
    const wrong = checks.filter(({ verdict }) => verdict !== "good");
    const number = checks.length - wrong.length;
    return { title: host, lines: [good("checks", `${number} of ${checks.length} good`), ...wrong] };
  });
  const pairs = judgePairs(
    rates,
    members.map(({ host }) => host),
  );
  const ranks = plural(members.length, "rank");
  return [
    ...hosts,
    { title: "Versions", lines: compareVersions(members) },
    ...(pairs.length > 0 ? [{ title: `Between ${ranks}`, lines: pairs }] : []),
  ];
}
