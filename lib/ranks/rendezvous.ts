// The protocol between the rendezvous server and the ranks. The server gathers values by key; neither side
// sends anything else before both have proved that they know the token.
import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  randomBytes,
  timingSafeEqual,
} from "node:crypto";
import type { Socket } from "node:net";
import { hostname } from "node:os";
import { native } from "../device/native.js";
import { OnehourError } from "../errors.js";

export const greetingLimit = 1024; // bytes of a frame before a peer is known
export const frameLimit = 64 * 1024 * 1024; // bytes of a frame after that
export const collectedBytes = 8 * 1024 * 1024; // what rank 0 is sent at a time, by all ranks together

/** What is announced of ranks that an engine started: that one has failed, and that one is alive. */
export const endKey = "end";
export const beatKey = "beat";

/** Proves that its sender knows the token, for these parts of one conversation. */
export function proof(token: string, ...parts: readonly (string | number)[]): string {
  return createHmac("sha256", token).update(JSON.stringify(parts)).digest("hex");
}

const sealing = "aes-256-gcm";
const nonceBytes = 12;
const tagBytes = 16;

function sealingKey(token: string): Buffer {
  return createHmac("sha256", token).update("seal").digest();
}

/** Encrypts bytes so that only a process with the token can read or make them, for one `context`. */
export function seal(token: string, context: string, bytes: Uint8Array): Buffer {
  const nonce = randomBytes(nonceBytes);
  const cipher = createCipheriv(sealing, sealingKey(token), nonce).setAAD(Buffer.from(context));
  return Buffer.concat([nonce, cipher.update(bytes), cipher.final(), cipher.getAuthTag()]);
}

/** Decrypts what `seal` made; undefined for anything else. */
export function unseal(token: string, context: string, sealed: Uint8Array): Buffer | undefined {
  if (sealed.length < nonceBytes + tagBytes) return undefined;
  const end = sealed.length - tagBytes;
  const nonce = sealed.subarray(0, nonceBytes);
  const decipher = createDecipheriv(sealing, sealingKey(token), nonce, { authTagLength: tagBytes })
    .setAAD(Buffer.from(context))
    .setAuthTag(sealed.subarray(end));
  try {
    return Buffer.concat([decipher.update(sealed.subarray(nonceBytes, end)), decipher.final()]);
  } catch {
    return undefined;
  }
}

/** Compares proofs in a time that does not depend on where they differ. */
export function matches(given: unknown, expected: string): boolean {
  if (typeof given !== "string" || given.length !== expected.length) return false;
  const left = Buffer.from(given);
  const right = Buffer.from(expected);
  return left.length === right.length && timingSafeEqual(left, right);
}

export function failure(message: string): OnehourError {
  return new OnehourError("ERR_ONEHOUR_RENDEZVOUS", message);
}

/** What meets: the ranks of a run, or the nodes that start them. */
export type MemberKind = "rank" | "node";

/** What a user sets for a meeting, by what meets. */
export const settingsOf: Readonly<
  Record<MemberKind, { address: string; port: string; secret: string }>
> = {
  rank: { address: "MASTER_ADDR", port: "MASTER_PORT", secret: "ONEHOUR_TOKEN" },
  node: {
    address: "--rendezvous",
    port: "--rendezvous",
    secret: "--token-file, or ONEHOUR_TOKEN,",
  },
};

/** A member whose connection ended although it had not left. */
export interface Loss {
  /** Undefined for the one that holds the meeting. */
  rank: number | undefined;
  /** "rank 2 on host b ended", or that it is unreachable and since when. */
  message: string;
  /** Nothing answers there: the machine or the way to it is down. Else only the process ended. */
  unreachable: boolean;
}

const mostNamed = 16;

/** "ranks 1 and 3", "node 2"; of many the first. */
export function nameMembers(kind: MemberKind, numbers: readonly number[]): string {
  const all =
    numbers.length > mostNamed
      ? [...numbers.slice(0, mostNamed - 1), `${numbers.length - mostNamed + 1} more`]
      : numbers;
  return `${kind}${numbers.length === 1 ? "" : "s"} ${inWords(all.map(String))}`;
}

/** "ranks 1 and 3" */
export const nameRanks = (ranks: readonly number[]) => nameMembers("rank", ranks);

/** "a, b and c" */
export function inWords(names: readonly string[]): string {
  return names.length < 2
    ? names.join("")
    : `${names.slice(0, -1).join(", ")} and ${names[names.length - 1]}`;
}

/** Whether a message begins with the rank that it is about, and its host. */
export const namesRank = (message: string): boolean =>
  /^rank \d+ (on \S+: |of \d+, on host )/.test(message);

/** Without the prefix that marks IPv4 in IPv6. */
export function plainAddress(address: string | undefined): string {
  return (address ?? "127.0.0.1").replace(/^::ffff:/, "");
}

/** The name of this machine in messages. */
export const thisHost = () => process.env.ONEHOUR_HOST || hostname();

/** Errors of a connection whose peer's machine does not answer any more. */
const unreachableCodes = ["ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH", "ENETDOWN"];

/**
 * Follows a connection to another machine: when that does not answer for `quietSeconds`, however busy its
 * processes are, the connection ends. Returns whether it ended so.
 */
export function followPeer(socket: Socket, quietSeconds: number): () => boolean {
  let silent = false;
  socket.on("error", ({ code }: NodeJS.ErrnoException) => {
    silent = unreachableCodes.includes(code ?? "");
  });
  // Only the kernel knows a silent machine from a busy process; Node does not offer its limit.
  const descriptor = (socket as { _handle?: { fd?: number } })._handle?.fd ?? -1;
  if (descriptor >= 0 && !isLoopback(plainAddress(socket.remoteAddress)))
    native.endWhenSilent(descriptor, quietSeconds);
  return () => silent;
}

/** Addresses that only this machine can reach. */
export function isLoopback(address: string): boolean {
  return address.startsWith("127.") || address === "::1";
}
