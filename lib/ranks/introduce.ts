// Connects the ranks of a communicator: they exchange their addresses over the rendezvous.
import type { NativeCommunicator } from "../device/device.js";

/**
 * Connects a communicator of some ranks of the world, by default of the first. Every rank of the world
 * calls it with the same key, for a group of its own or for the same one; it resolves when all groups are
 * connected. One group may need more rounds than another: on one machine memory is enough. A rank that
 * is in no group has no communicator.
 */
export async function introduce(
  communicator: NativeCommunicator | undefined,
  world: { exchange(key: string, value: Uint8Array): Promise<Uint8Array[]> },
  key: string,
  ranks = Array.from({ length: communicator?.size ?? 0 }, (_, rank) => rank),
): Promise<void> {
  let pending = communicator;
  for (;;) {
    const addresses = await world.exchange(key, pending?.address() ?? new Uint8Array());
    if (addresses.every(({ length }) => length === 0)) return;
    const group = ranks.map((rank) => addresses[rank]!);
    if (await pending?.connect(group)) pending = undefined;
  }
}
