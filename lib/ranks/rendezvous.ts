// Where ranks meet, as one of them sees it, and what server and clients agree on: a small TCP server
// gathers values by key. Nobody says anything else before both sides proved that they know the token.
import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  randomBytes,
  timingSafeEqual,
} from "node:crypto";
import { OnehourError } from "../errors.js";

export const greetingLimit = 1024; // bytes of a frame before a peer is known
export const frameLimit = 64 * 1024 * 1024; // bytes of a frame after that

/** A meeting of all ranks of a run. */
export interface Rendezvous {
  readonly rank: number;
  readonly worldSize: number;
  /**
   * All ranks' values in rank order; resolves when every rank has called with this key. A key may
   * be used again afterwards.
   * @throws OnehourError ERR_ONEHOUR_RENDEZVOUS naming the ranks that are missing.
   */
  gather(key: string, value: Uint8Array | string): Promise<Buffer[]>;
  /**
   * As `gather`, for what nobody else may learn on its way: only who knows the token can read it,
   * or put something in its place.
   */
  exchange(key: string, value: Uint8Array): Promise<Uint8Array[]>;
  /**
   * Tells every rank, this one too, without waiting for any. All ranks hear it before the end of
   * whatever they gather next with this one.
   */
  announce(key: string, value: string): void;
  /**
   * Hands over what is announced with this key, once each, also what came while nobody listened.
   * Returns a function that ends it. One listener a key at a time.
   */
  listen(key: string, listener: (value: string) => void): () => void;
  /** The address of this machine on the way to the other ranks, as they can reach it. */
  readonly localAddress: string;
  close(): Promise<void>;
}

/** That whoever sends it knows the token, for these parts of one conversation. */
export function proof(token: string, ...parts: readonly (string | number)[]): string {
  return createHmac("sha256", token).update(JSON.stringify(parts)).digest("hex");
}

const sealing = "aes-256-gcm";
const nonceBytes = 12;
const tagBytes = 16;

function sealingKey(token: string): Buffer {
  return createHmac("sha256", token).update("seal").digest();
}

/** Bytes that only who knows the token can read or make; `context` is what they are good for. */
export function seal(token: string, context: string, bytes: Uint8Array): Buffer {
  const nonce = randomBytes(nonceBytes);
  const cipher = createCipheriv(sealing, sealingKey(token), nonce).setAAD(Buffer.from(context));
  return Buffer.concat([nonce, cipher.update(bytes), cipher.final(), cipher.getAuthTag()]);
}

/** What was sealed, or undefined where that was something else. */
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

/** Compares proofs in a time that does not tell where they differ. */
export function matches(given: unknown, expected: string): boolean {
  if (typeof given !== "string" || given.length !== expected.length) return false;
  const left = Buffer.from(given);
  const right = Buffer.from(expected);
  return left.length === right.length && timingSafeEqual(left, right);
}

export function failure(message: string): OnehourError {
  return new OnehourError("ERR_ONEHOUR_RENDEZVOUS", message);
}

const mostNamed = 16;

/** "ranks 1 and 3", "rank 2"; of many the first. */
export function nameRanks(ranks: readonly number[]): string {
  const list =
    ranks.length < 2
      ? ranks.join("")
      : ranks.length > mostNamed
        ? `${ranks.slice(0, mostNamed).join(", ")} and ${ranks.length - mostNamed} more`
        : `${ranks.slice(0, -1).join(", ")} and ${ranks[ranks.length - 1]}`;
  return `rank${ranks.length === 1 ? "" : "s"} ${list}`;
}

/** Without the prefix that marks IPv4 in IPv6. */
export function plainAddress(address: string | undefined): string {
  return (address ?? "127.0.0.1").replace(/^::ffff:/, "");
}

/** Addresses that only this machine can reach. */
export function isLoopback(address: string): boolean {
  return address.startsWith("127.") || address === "::1";
}
