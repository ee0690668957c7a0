// Meets at a rendezvous within this process; what was opened is closed after each test.
import { afterEach } from "vitest";
import { joinRendezvous } from "../../lib/ranks/join-rendezvous.js";
import type { RendezvousClient } from "../../lib/ranks/rendezvous-client.js";
import { RendezvousServer, type ServerOptions } from "../../lib/ranks/rendezvous-server.js";

export const token = "a secret";
/** What is closed after each test, the newest first. */
export const open: { close(): unknown }[] = [];

afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
});

export async function serve(options: Partial<ServerOptions> = {}): Promise<RendezvousServer> {
  const server = await RendezvousServer.listen({ worldSize: 2, token, ...options });
  open.push(server);
  return server;
}

export async function join(
  server: RendezvousServer,
  rank: number,
  options: { worldSize?: number; token?: string; timeoutSeconds?: number } = {},
): Promise<RendezvousClient> {
  const client = await joinRendezvous({
    rank,
    worldSize: 2,
    token,
    host: "127.0.0.1",
    port: server.port,
    timeoutSeconds: 5,
    ...options,
  });
  open.push(client);
  return client;
}

export function text(values: Buffer[]): string[] {
  return values.map(String);
}
