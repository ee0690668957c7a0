// Where ranks meet, as one of them sees it, and what server and clients agree on: a small TCP server
// gathers values by key. Nobody says anything else before both sides proved that they know the token.
import { createHmac, timingSafeEqual } from "node:crypto";
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

/** "ranks 1 and 3", "rank 2". */
export function nameRanks(ranks: readonly number[]): string {
  const list =
    ranks.length < 2
      ? ranks.join("")
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
