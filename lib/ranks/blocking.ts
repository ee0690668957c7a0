// Reads connections without the event loop, which would come too late.
import { readSync } from "node:fs";
import type { Socket } from "node:net";

const napMilliseconds = 20;
const nap = new Int32Array(new SharedArrayBuffer(4));

/**
 * Blocks until the other ends of all connections have closed them, `isEnough` holds, or `seconds` have passed.
 * What comes meanwhile reaches the sockets' listeners.
 */
export function awaitClosed(
  sockets: Iterable<Socket>,
  seconds: number,
  isEnough: () => boolean,
): void {
  const deadline = performance.now() + 1000 * seconds;
  let open = [...sockets];
  for (;;) {
    open = open.filter(take);
    if (open.length === 0 || isEnough() || performance.now() > deadline) return;
    Atomics.wait(nap, 0, 0, napMilliseconds);
  }
}

/** Hands what has come to a socket's listeners; false once nothing more can come. */
export function take(socket: Socket): boolean {
  // Node has no other way to read a socket at once.
  const { _handle: handle } = socket as unknown as { _handle?: { fd?: number } | null };
  const { fd } = handle ?? {};
  if (socket.destroyed || fd === undefined || fd < 0) return false;
  const bytes = Buffer.alloc(65_536);
  try {
    const length = readSync(fd, bytes);
    if (length > 0) socket.emit("data", bytes.subarray(0, length));
    return length > 0;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EAGAIN";
  }
}
