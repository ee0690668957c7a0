// The rendezvous of a world of one, which needs no network.
import type { Rendezvous } from "./rendezvous.js";

export class Solitude implements Rendezvous {
  readonly rank = 0;
  readonly worldSize = 1;
  readonly localAddress = "127.0.0.1";

  async gather(_key: string, value: Uint8Array | string): Promise<Buffer[]> {
    return [Buffer.from(value)];
  }

  async exchange(_key: string, value: Uint8Array): Promise<Uint8Array[]> {
    return [value];
  }

  announce(): void {}

  listen(): () => void {
    return () => {};
  }

  async close(): Promise<void> {}
}
