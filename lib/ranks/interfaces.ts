// Which interface and address of this machine the other ranks of a run use, and why.
import { createSocket } from "node:dgram";
import { readdirSync } from "node:fs";
import { isIPv6 } from "node:net";
import { type NetworkInterfaceInfo, networkInterfaces } from "node:os";
import { type Environment, wrongVariable } from "../system/variables.js";
import { shown } from "../text/words.js";
import { resolveAll } from "./addresses.js";
import { isLoopback, plainAddress } from "./rendezvous.js";

type Interfaces = NodeJS.Dict<NetworkInterfaceInfo[]>;

/** Where the others reach this machine. */
export interface OwnAddress {
  /** A link-local one with its interface: fe80::1%eth0. */
  address: string;
  /** Undefined where no interface is known to have it. */
  interface: string | undefined;
  /** "the way to rank 0", or the variable that chose it. */
  why: string;
}

/** Variables that name an interface, first to last, and how they do. */
const variables: readonly [name: string, matches: (text: string, name: string) => boolean][] = [
  ["ONEHOUR_INTERFACE", isListed],
  ["GLOO_SOCKET_IFNAME", isListed],
  ["NCCL_SOCKET_IFNAME", matchesNccl],
];

/** Names of interfaces, separated by commas. */
function isListed(text: string, name: string): boolean {
  return text.split(",").includes(name);
}

/** NCCL's way: prefixes of names; with = whole names; with ^ those that are not meant. */
function matchesNccl(text: string, name: string): boolean {
  const [, not, whole, list] = /^(\^?)(=?)(.*)$/s.exec(text)!;
  const listed = list!
    .split(",")
    .filter((one) => one !== "")
    .some((one) => (whole === "=" ? name === one : name.startsWith(one)));
  return listed !== (not === "^");
}

/**
 * The address that the other ranks use: on the interface that a variable names, or ONEHOUR_HOST's, else
 * `reached`, by which this machine reaches rank 0. Of several interfaces that a variable allows it is the
 * one with that address, else the first.
 *
 * @throws OnehourError ERR_ONEHOUR_ENVIRONMENT listing what interfaces there are, where none fits.
 */
export async function ownAddress(
  reached: string,
  env: Environment = process.env,
  interfaces: Interfaces = networkInterfaces(),
  resolve: (host: string) => Promise<string[]> = resolveAll,
): Promise<OwnAddress> {
  const { ONEHOUR_INTERFACE, ONEHOUR_HOST } = env;
  if (!ONEHOUR_INTERFACE && ONEHOUR_HOST) return await ofHost(ONEHOUR_HOST, interfaces, resolve);
  const [name, matches] = variables.find(([variable]) => env[variable]) ?? [];
  if (name !== undefined && matches !== undefined) {
    const allowed = inOrder(interfaces).filter((one) => matches(env[name]!, one));
    const chosen = allowed.find((one) => hasAddress(interfaces[one]!, reached)) ?? allowed[0];
    if (chosen === undefined) throw noInterface(name, env[name]!, matches, interfaces);
    return { address: addressOn(chosen, interfaces, reached), interface: chosen, why: name };
  }
  // Rank 0 is behind something on this machine that passes connections on.
  const hidden =
    isLoopback(reached) && inOrder(interfaces).find((one) => !isInternal(interfaces[one]!));
  if (hidden)
    return {
      address: addressOn(hidden, interfaces, reached),
      interface: hidden,
      why: "the first one: rank 0 is reached by loopback",
    };
  return {
    address: reached,
    interface: interfaceOf(reached, interfaces),
    why: "the way to rank 0",
  };
}

async function ofHost(
  host: string,
  interfaces: Interfaces,
  resolve: (host: string) => Promise<string[]>,
): Promise<OwnAddress> {
  const why = "ONEHOUR_HOST";
  const expected = "a name or address of this machine that the others reach";
  const advice = `here are ${listed(interfaces)}`;
  const addresses = await resolve(host).catch(({ code, message }) => {
    throw wrongVariable(`${why} is ${shown(host)} (${code ?? message})`, expected, advice);
  });
  const address = addresses.find((one) => one === host || !isLoopback(one));
  if (address === undefined)
    throw wrongVariable(
      `${why} is ${shown(host)}, which is ${addresses.join(", ")} here`,
      expected,
      advice,
    );
  return { address, interface: interfaceOf(address, interfaces), why };
}

/** Those that lead nowhere else last: Docker's bridge, then loopback. */
function inOrder(interfaces: Interfaces): string[] {
  const place = (name: string) =>
    isInternal(interfaces[name]!) ? 2 : name.startsWith("docker") ? 1 : 0;
  return Object.keys(interfaces).sort((a, b) => place(a) - place(b));
}

const isInternal = (addresses: readonly NetworkInterfaceInfo[]) =>
  addresses.every(({ internal }) => internal);

/** An address without the interface of a link-local one: fe80::1%eth0 is fe80::1. */
const withoutScope = (address: string) => address.replace(/%.*/s, "");

const hasAddress = (addresses: readonly NetworkInterfaceInfo[], one: string) =>
  addresses.some(({ address }) => address === withoutScope(one));

/** The name of the interface that has an address. */
export function interfaceOf(
  address: string,
  interfaces: Interfaces = networkInterfaces(),
): string | undefined {
  const scope = address.split("%")[1];
  if (scope !== undefined) return scope;
  return Object.keys(interfaces).find((name) => hasAddress(interfaces[name]!, address));
}

/** The address from which this machine would call another, by its routes; undefined where there is no way. */
export function sourceTowards(address: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = createSocket(isIPv6(address) ? "udp6" : "udp4");
    const end = (own?: string) => {
      socket.close();
      resolve(own);
    };
    socket.once("error", () => end());
    // Connecting a datagram's socket sends nothing. Where it cannot, Node gives the error to what waits for it.
    const connected = (error?: Error) =>
      end(error ? undefined : plainAddress(socket.address().address));
    socket.connect(9, address, connected);
  });
}

const isLinkLocal = (address: string) => /^fe[89ab]/i.test(address);

/** That of an interface that is of `reached`'s kind, if it has one; a link-local one if it has no other. */
function addressOn(name: string, interfaces: Interfaces, reached: string): string {
  const addresses = interfaces[name]!;
  const likely = ({ address, family }: NetworkInterfaceInfo) =>
    (address === withoutScope(reached) ? 4 : 0) +
    (isLinkLocal(address) ? 0 : 2) +
    ((family === "IPv6") === reached.includes(":") ? 1 : 0);
  const best = [...addresses].sort((a, b) => likely(b) - likely(a))[0]!.address;
  return isLinkLocal(best) ? `${best}%${name}` : best;
}

/** "eth0 (10.0.0.1, fd00::1), lo (127.0.0.1)" */
function listed(interfaces: Interfaces): string {
  return inOrder(interfaces)
    .map((name) => `${name} (${interfaces[name]!.map(({ address }) => address).join(", ")})`)
    .join(", ");
}

function noInterface(
  variable: string,
  text: string,
  matches: (text: string, name: string) => boolean,
  interfaces: Interfaces,
) {
  let bare: string[] = [];
  try {
    bare = readdirSync("/sys/class/net").filter((name) => matches(text, name));
  } catch {
    // A sandbox without it.
  }
  const problem =
    bare.length > 0
      ? `, but ${bare.join(", ")} has no address here, or is down`
      : ", which no interface with an address fits here";
  return wrongVariable(
    `${variable} is ${shown(text)}${problem}`,
    `one of ${listed(interfaces)}`,
    "unset it to take the one by which this machine reaches rank 0",
  );
}
