// Puts faults into Node's sockets: a reset, bytes that arrive late or one by one; and plays
// strangers.
import { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

/** A fault of one write of this process to a socket, or of that write and all after it. */
export interface SocketFault {
  /** How many writes succeed first. */
  after: number;
  /** "late" and "torn" are of all writes from there on: later, in two pieces. */
  effect: "reset" | "late" | "torn";
  milliseconds: number;
}

type Write = (this: Socket, ...values: unknown[]) => boolean;

/** Runs `work` with a fault in its sockets. */
export async function withSocketFault<T>(
  { after, effect, milliseconds }: SocketFault,
  work: () => Promise<T>,
): Promise<T> {
  const real = Socket.prototype.write as Write;
  const queues = new WeakMap<Socket, Promise<unknown>>();
  let count = 0;
  Socket.prototype.write = function (this: Socket, ...values: unknown[]) {
    const [data] = values;
    if (count++ < after || !Buffer.isBuffer(data)) return real.apply(this, values);
    if (effect === "reset") {
      if (count === after + 1) this.resetAndDestroy();
      else return real.apply(this, values);
      return false;
    }
    const half = effect === "torn" ? data.length >> 1 : data.length;
    const put = async (bytes: Buffer) => {
      await sleep(milliseconds);
      if (bytes.length > 0 && !this.destroyed && this.writable) real.call(this, bytes);
    };
    const earlier = queues.get(this) ?? Promise.resolve();
    const both = earlier.then(() => put(data.subarray(0, half)));
    queues.set(
      this,
      both.then(() => put(data.subarray(half))),
    );
    return true;
  } as never;
  try {
    return await work();
  } finally {
    Socket.prototype.write = real as never;
  }
}

/**
 * What a stranger sends: nothing, small numbers like a collective's peer, too long a frame, noise.
 */
export const greetings = {
  silence: Buffer.alloc(0),
  numbers: Buffer.concat([0, 1, 2, 3].map((n) => Buffer.from(BigUint64Array.of(BigInt(n)).buffer))),
  long: Buffer.from([0xff, 0xff, 0xff, 0xff, 0x7b]),
  frame: Buffer.from('\0\0\0\x0f{"type":"hello"}'),
  noise: Buffer.from(Array.from({ length: 256 }, (_, i) => (i * 167) & 255)),
} as const;
export type Greeting = keyof typeof greetings;

/** Connects to a port of this machine and speaks first; ends when the other side does. */
export async function visit(port: number, greeting: Greeting): Promise<void> {
  const socket = new Socket();
  socket.on("error", () => {});
  const closed = new Promise((resolve) => socket.on("close", resolve));
  socket.connect(port, "127.0.0.1", () => {
    if (greeting !== "silence") socket.write(new Uint8Array(greetings[greeting]));
  });
  socket.unref();
  socket.resume();
  await Promise.race([closed, sleep(200)]);
  socket.destroy();
}
