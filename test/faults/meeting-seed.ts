// Runs one seed of socket faults: ranks meet, exchange values and part, among strangers and over
// sockets that are slow, tear or break.

import { joinRendezvous } from "../../lib/ranks/join-rendezvous.js";
import { RendezvousServer } from "../../lib/ranks/rendezvous-server.js";
import { Draws } from "./draws.js";
import { type Greeting, greetings, type SocketFault, visit, withSocketFault } from "./sockets.js";
import { unnamed } from "./training.js";

interface MeetingPlan {
  ranks: number;
  fault: SocketFault;
  strangers: Greeting[];
}

function drawMeeting(draws: Draws): MeetingPlan {
  const ranks = 2 + draws.below(3);
  return {
    ranks,
    fault: {
      after: draws.below(8 * ranks),
      effect: draws.pick(["reset", "late", "torn"]),
      milliseconds: draws.below(20),
    },
    strangers: Array.from({ length: draws.below(5) }, () =>
      draws.pick(Object.keys(greetings) as Greeting[]),
    ),
  };
}

const keys = ["first", "second", "third"];

type Place = Omit<Parameters<typeof joinRendezvous>[0], "rank">;

/** One rank's part; resolves to all that it received. */
async function attend(rank: number, place: Place): Promise<string[]> {
  const meeting = await joinRendezvous({ ...place, rank });
  try {
    await meeting.gather("meet", ""); // as connect() does
    const received: string[] = [];
    meeting.listen("news", (value) => received.push(value));
    if (rank === 1) meeting.announce("news", "news");
    for (const key of keys) {
      const values = await meeting.gather(key, `${key} ${rank}`);
      received.push(...values.map(String));
    }
    return received.sort();
  } finally {
    await meeting.close();
  }
}

/** Runs a seed; throws where the product breaks a promise. */
export async function meetingSeed(
  seed: number,
  report: (plan: MeetingPlan) => void,
): Promise<void> {
  const plan = drawMeeting(new Draws(seed));
  report(plan);
  const { ranks, fault, strangers } = plan;
  const all = Array.from({ length: ranks }, (_, rank) => rank);
  const expected = ["news", ...keys.flatMap((key) => all.map((rank) => `${key} ${rank}`))].sort();
  // After a reset a rank may wait for others that have given up, so the wait is short.
  const timeoutSeconds = fault.effect === "reset" ? 1 : 30;
  const common = { worldSize: ranks, token: "faults", host: "127.0.0.1", timeoutSeconds };
  const server = await RendezvousServer.listen(common);
  try {
    const visits = strangers.map((greeting) => visit(server.port, greeting));
    const ends = await withSocketFault(fault, () =>
      Promise.allSettled(all.map((rank) => attend(rank, { ...common, port: server.port }))),
    );
    await Promise.all(visits);
    for (const [rank, end] of ends.entries()) {
      if (end.status === "fulfilled") {
        if (`${end.value}` !== `${expected}`) throw new Error(`rank ${rank} got ${end.value}`);
        continue;
      }
      const problem = unnamed(end.reason);
      if (problem !== undefined) throw new Error(problem);
      if (fault.effect !== "reset") throw new Error(`nothing broke, but ${end.reason.stack}`);
    }
  } finally {
    await server.close();
  }
}
