// Meetings of ranks in this process, over a rendezvous.

import { joinRendezvous } from "../../lib/ranks/join-rendezvous.js";
import type { Meeting } from "../../lib/ranks/meeting.js";
import { RendezvousServer } from "../../lib/ranks/rendezvous-server.js";

/** Has all ranks of a meeting do something, and resolves with how each of them ended. */
export async function together<T>(
  worldSize: number,
  work: (meeting: Meeting) => Promise<T>,
): Promise<PromiseSettledResult<T>[]> {
  const token = "together";
  const server = await RendezvousServer.listen({ worldSize, token });
  const place = { worldSize, token, host: "127.0.0.1", port: server.port, timeoutSeconds: 60 };
  const rank = async (index: number) => {
    const client = await joinRendezvous({ ...place, rank: index });
    try {
      return await work({
        rank: index,
        worldSize,
        gather: async (key, value) => (await client.gather(key, value)).map(String),
        collect: (key, value, onSent) => client.collect(key, value, onSent),
      });
    } finally {
      await client.close();
    }
  };
  try {
    return await Promise.allSettled(Array.from({ length: worldSize }, (_, index) => rank(index)));
  } finally {
    await server.close();
  }
}
