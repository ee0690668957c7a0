// Ranks that live in this process, for collectives without worker processes.
import type { NativeCommunicator } from "../../lib/device/device.js";
import { deviceOf } from "./device.js";

/** `size` communicators of one group, connected to one another, on the devices of their ranks. */
export async function connectAll(size: number): Promise<NativeCommunicator[]> {
  const ranks = Array.from({ length: size }, (_, rank) =>
    deviceOf(rank).createCommunicator(rank, size, 30),
  );
  for (;;) {
    const addresses = ranks.map((communicator) => communicator.address());
    const connected = ranks.map((communicator) => communicator.connect(addresses));
    if ((await Promise.all(connected)).every(Boolean)) return ranks;
  }
}
