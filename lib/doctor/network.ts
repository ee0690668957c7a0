// Checks the network: the interface that a run of several hosts would take, and what this host's name means here.
import { hostname, networkInterfaces } from "node:os";
import { resolveAll } from "../ranks/addresses.js";
import { readPlace } from "../ranks/environment.js";
import { ownAddress, sourceTowards } from "../ranks/interfaces.js";
import { isLoopback } from "../ranks/rendezvous.js";
import { asRoot, bad, type Check, good, type Line, warn } from "./check.js";

/** An address that is nobody's (RFC 5737), by which the way out is found. */
const outside = "198.51.100.1";

/** The host of rank 0, where variables name one. */
function hostOfRankZero(): string | undefined {
  try {
    const place = readPlace();
    return place.level === "alone" ? undefined : place.rendezvous?.host;
  } catch {
    return undefined; // which the check of the variables tells
  }
}

/** "eth0 10.0.0.1, lo 127.0.0.1" */
function listInterfaces(): string {
  const all = Object.entries(networkInterfaces());
  return all.map(([name, addresses]) => `${name} ${addresses?.[0]?.address}`).join(", ");
}

/** The variables that choose an interface, those that are set. */
const choosing = () =>
  ["ONEHOUR_INTERFACE", "ONEHOUR_HOST", "GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"].filter(
    (name) => process.env[name],
  );

/** What keeps the workers of this host from meeting each other, whatever the network is; undefined where nothing does. */
export function loopbackMissing(name: string): Line | undefined {
  const all = Object.values(networkInterfaces()).flatMap((one) => one ?? []);
  if (all.some(({ address }) => isLoopback(address))) return undefined;
  const found =
    all.length === 0
      ? "no interface has an address, not even loopback, by which the workers of this host meet"
      : "loopback, by which the workers of this host meet, is down";
  return warn(name, found, `${asRoot}ip link set lo up`);
}

async function lookAtInterfaces(): Promise<Line[]> {
  const name = "interface";
  const lead = hostOfRankZero();
  const missing = loopbackMissing(name);
  if (missing !== undefined) return [missing];
  const [address = outside] = lead === undefined ? [] : await resolveAll(lead).catch(() => []);
  const reached = await sourceTowards(address);
  try {
    const own = await ownAddress(reached ?? "127.0.0.1");
    const isOwnWay = own.why === "the way to rank 0" && lead === undefined;
    const way = reached === undefined ? "as there is no way out" : "the default route";
    const why = isOwnWay ? way : own.why;
    const alone = isLoopback(own.address) ? "; no other host reaches this one" : "";
    const found = `a run of several hosts takes ${own.interface ?? "no known interface"} (${own.address}), ${why}`;
    return [good(name, `${found}${alone}. Here are ${listInterfaces()}`)];
  } catch (error) {
    const judge = lead === undefined ? warn : bad;
    return [judge(name, (error as Error).message, `unset ${choosing().join(" ")}`)];
  }
}

/** What this host's own name is here, which another host may see otherwise. */
export function judgeName(
  host: string,
  addresses: readonly string[] | undefined,
  own: readonly string[],
): Line {
  const name = "host name";
  const advice = `getent hosts ${host}`;
  if (addresses === undefined)
    return warn(
      name,
      `${host} has no address here, so it cannot be MASTER_ADDR on this host alone`,
      `echo "127.0.1.1 ${host}" | ${asRoot}tee -a /etc/hosts`,
    );
  const found = `${host} is ${addresses.join(", ")} here`;
  if (addresses.every(isLoopback))
    return good(
      name,
      `${found}: loopback, which is all right on this host; on the others it must be this host's address`,
    );
  const foreign = addresses.filter((address) => !isLoopback(address) && !own.includes(address));
  if (foreign.length === 0) return good(name, found);
  return warn(name, `${found}, but ${foreign.join(", ")} is no address of this host`, advice);
}

async function lookAtName(): Promise<Line[]> {
  const own = Object.values(networkInterfaces()).flatMap((all) => all ?? []);
  const addresses = await resolveAll(hostname()).catch(() => undefined);
  return [
    judgeName(
      hostname(),
      addresses,
      own.map(({ address }) => address),
    ),
  ];
}

export const networkChecks: readonly Check[] = [
  { name: "interface", seconds: 5, advice: "ip address", look: lookAtInterfaces },
  { name: "host name", seconds: 5, advice: "getent hosts $(hostname)", look: lookAtName },
];
