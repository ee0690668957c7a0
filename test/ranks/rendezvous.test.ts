// Ranks that have met exchange what they know, and hear of those that come late or end.
import { randomBytes } from "node:crypto";
import type { Socket } from "node:net";
import { afterEach, describe, expect, test, vi } from "vitest";
import { sendFrame } from "../../lib/ranks/frames.js";
import { seal, unseal } from "../../lib/ranks/rendezvous.js";
import { join, serve, text, token } from "./rendezvous.js";

afterEach(() => {
  vi.useRealTimers();
});

describe("gather", () => {
  test("gives every rank all values in rank order, for key after key and again", async () => {
    const server = await serve({ worldSize: 3 });
    const ranks = await Promise.all([2, 0, 1].map((rank) => join(server, rank, { worldSize: 3 })));
    for (let round = 0; round < 2; round++) {
      const all = await Promise.all(
        ranks.map((client) => client.gather("names", `rank ${client.rank} in ${round}`)),
      );
      for (const values of all) {
        expect(text(values)).toEqual([0, 1, 2].map((rank) => `rank ${rank} in ${round}`));
      }
    }
    const bytes = randomBytes(3_000_000);
    const both = await Promise.all(
      ranks.map((client) => client.gather("bytes", client.rank === 1 ? bytes : new Uint8Array(0))),
    );
    for (const values of both)
      expect(values.map((value) => value.length)).toEqual([0, 3_000_000, 0]);
    expect(both[2]![1]!.equals(bytes)).toBe(true);
  });

  test("keeps keys apart that are gathered at the same time", async () => {
    const server = await serve();
    const [a, b] = await Promise.all([join(server, 0), join(server, 1)]);
    const [x, y, z, w] = await Promise.all([
      a.gather("x", "ax"),
      a.gather("y", "ay"),
      b.gather("y", "by"),
      b.gather("x", "bx"),
    ]);
    expect([x, w].map(text)).toEqual([
      ["ax", "bx"],
      ["ax", "bx"],
    ]);
    expect([y, z].map(text)).toEqual([
      ["ay", "by"],
      ["ay", "by"],
    ]);
  });

  test("names the ranks that do not arrive in time", async () => {
    const server = await serve({ worldSize: 3, timeoutSeconds: 0.3 });
    const client = await join(server, 1, { worldSize: 3 });
    const waiting = client.gather("start", "");
    await expect(waiting).rejects.toThrow(/ranks 0 and 2 did not come to "start" within 0.3 s/);
  });

  test("says at growing distances who is missing", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const said: string[] = [];
    const server = await serve({ remark: (remark) => said.push(remark) });
    await join(server, 0);
    for (const [seconds, remarks] of [
      [9, 0],
      [1, 1],
      [19, 1],
      [1, 2],
    ] as const) {
      vi.advanceTimersByTime(seconds * 1000);
      expect(said).toHaveLength(remarks);
    }
    expect(said[0]).toMatch(/^waiting for rank 1 of 2 \(rank 0 is here, from /);
    await join(server, 1);
    vi.advanceTimersByTime(1e6);
    expect(said).toHaveLength(2);
  });

  test("ranks that have all left may meet again; who comes early waits for the others", async () => {
    const server = await serve();
    const [a, b] = await Promise.all([join(server, 0), join(server, 1)]);
    await a.close();
    const early = join(server, 0);
    await expect(b.gather("old", "")).rejects.toThrow(/rank 0 left before "old"/);
    await b.close();
    const [again, other] = await Promise.all([early, join(server, 1)]);
    const [values] = await Promise.all([again.gather("new", "a"), other.gather("new", "b")]);
    expect(text(values)).toEqual(["a", "b"]);
  });

  test("fails at once when a rank has left", async () => {
    const server = await serve();
    const [a, b] = await Promise.all([join(server, 0), join(server, 1)]);
    await Promise.all([
      expect(a.gather("more", "")).rejects.toThrow(/rank 1 left before "more"/),
      b.close(),
    ]);
    await expect(a.gather("again", "")).rejects.toThrow(/rank 1 left before "again"/);
  });

  test("fails when the server ends", async () => {
    const server = await serve();
    const client = await join(server, 0);
    await Promise.all([
      expect(client.gather("x", "")).rejects.toThrow(/lost the rendezvous/),
      server.close(),
    ]);
    await expect(client.gather("y", "")).rejects.toMatchObject({ code: "ERR_ONEHOUR_RENDEZVOUS" });
  });

  test("says who did not come at the start, to all who did, and to who comes too late", async () => {
    const server = await serve({ worldSize: 4, startTimeoutSeconds: 2, timeoutSeconds: 0.1 });
    const here = await Promise.all([0, 1].map((rank) => join(server, rank, { worldSize: 4 })));
    const message =
      /ranks 2 and 3 of 4 did not come within 2 s \(ranks 0 and 1 are here, from host \S+\)/;
    await Promise.all(
      here.map((client) => expect(client.gather("meet", "")).rejects.toThrow(message)),
    );
    await expect(here[0]!.gather("again", "")).rejects.toThrow(message);
    await expect(join(server, 2, { worldSize: 4 })).rejects.toThrow(message);
  });

  test("a rank that only ends is a loss of which the others hear; one that leaves is none", async () => {
    const losses: unknown[] = [];
    const server = await serve({ worldSize: 3, onLoss: (loss) => losses.push(loss) });
    const ranks = await Promise.all([0, 1, 2].map((rank) => join(server, rank, { worldSize: 3 })));
    const heard = new Promise((resolve) => ranks[0]!.onLoss(resolve));
    await ranks[1]!.close();
    (ranks[2] as unknown as { socket: Socket }).socket.destroy();
    const loss = { rank: 2, message: "rank 2 ended", unreachable: false };
    expect(await heard).toEqual(loss);
    expect(losses).toEqual([loss]);
  });

  test("the end of the server is a loss", async () => {
    const server = await serve({ worldSize: 1 });
    const client = await join(server, 0, { worldSize: 1 });
    const heard = new Promise((resolve) => client.onLoss(resolve));
    const { members } = server as unknown as { members: Map<number, Socket> };
    for (const socket of members.values()) socket.destroy(); // as the system does for a process that ends
    expect(await heard).toEqual({
      rank: undefined,
      message: expect.stringMatching(
        /^rank 0 lost the rendezvous: the process that holds it .* ended$/,
      ),
      unreachable: false,
    });
  });

  test("but none where it closed the meeting", async () => {
    const server = await serve({ worldSize: 1 });
    const client = await join(server, 0, { worldSize: 1 });
    const heard: unknown[] = [];
    client.onLoss((loss) => heard.push(loss));
    await server.close();
    await expect
      .poll(() => client.gather("x", "").catch(String))
      .toMatch(/rendezvous: it is closed/);
    expect(heard).toEqual([]);
  });

  test("reports to the supervisor which rank waits where", async () => {
    const server = await serve();
    const [a, b] = await Promise.all([join(server, 0), join(server, 1)]);
    const waiting = a.gather("here", "");
    await expect.poll(() => server.waiting(0)?.key).toBe("here");
    expect(server.waiting(1)).toBeUndefined();
    await Promise.all([waiting, b.gather("here", "")]);
    expect(server.waiting(0)).toBeUndefined();
  });
});

describe("announce", () => {
  test("reaches every rank before what it gathers next is complete", async () => {
    const server = await serve();
    const ranks = await Promise.all([join(server, 0), join(server, 1)]);
    const heard: string[][] = [[], []];
    const ends = ranks.map((client, rank) =>
      client.listen("stop", (value) => heard[rank]!.push(value)),
    );
    ranks[1].announce("other", "not for us");
    ranks[1].announce("stop", "now");
    await Promise.all(ranks.map((client) => client.gather("x", "")));
    expect(heard).toEqual([["now"], ["now"]]);
    for (const end of ends) end();
    ranks[0].announce("stop", "again");
    await Promise.all(ranks.map((client) => client.gather("x", "")));
    expect(heard).toEqual([["now"], ["now"]]);
    // Kept for who listens later, and heard once.
    ranks[1].listen("stop", (value) => heard[1]!.push(value));
    ranks[1].listen("stop", (value) => heard[1]!.push(value));
    expect(heard[1]).toEqual(["now", "again"]);
  });
});

describe("exchange", () => {
  test("sends all ranks what nobody on the network can read", async () => {
    const server = await serve();
    const [a, b] = await Promise.all([join(server, 0), join(server, 1)]);
    const secrets = [Buffer.from("rank 0's secret"), Buffer.alloc(0)];
    // What passes through the server is what a listener on the network gets.
    const plain = Promise.all([a.exchange("key", secrets[0]!), b.exchange("key", secrets[1]!)]);
    for (const received of await plain) expect(received.map(String)).toEqual(secrets.map(String));
    const sealed = seal(token, "key", secrets[0]!);
    expect(sealed.includes("secret")).toBe(false);
    expect(seal(token, "key", secrets[0]!)).not.toEqual(sealed);
    expect(unseal(token, "key", sealed)).toEqual(secrets[0]);
    expect(unseal(token, "other key", sealed)).toBeUndefined();
    expect(unseal("another token", "key", sealed)).toBeUndefined();
    expect(unseal(token, "key", sealed.subarray(0, 20))).toBeUndefined();
    for (let at = 0; at < sealed.length; at++) {
      const changed = Buffer.from(sealed);
      changed[at]! ^= 1;
      expect(unseal(token, "key", changed)).toBeUndefined();
    }
  });

  test("refuses what is not sealed, naming the rank", async () => {
    const server = await serve();
    const [a, b] = await Promise.all([join(server, 0), join(server, 1)]);
    const exchanged = a.exchange("key", Buffer.from("x"));
    await Promise.all([
      expect(exchanged).rejects.toThrow('"key": what rank 1 said was changed on its way to rank 0'),
      b.gather("key", "y"),
    ]);
  });
});

describe("collect", () => {
  test("brings rank 0 what all have, whatever its length, and nobody else", async () => {
    const server = await serve({ worldSize: 3 });
    const ranks = await Promise.all([0, 1, 2].map((rank) => join(server, rank, { worldSize: 3 })));
    for (const lengths of [
      [0, 20_000_000, 9_000_001],
      [3, 0, 0],
      [0, 0, 0],
    ]) {
      const values = lengths.map((length) => randomBytes(length));
      const [first, ...others] = await Promise.all(
        ranks.map((client, rank) => client.collect("files", values[rank]!)),
      );
      values.forEach((value, rank) => {
        expect(value.equals(first![rank]!)).toBe(true);
      });
      expect(others).toEqual([[], []]);
    }
    const { socket } = ranks[2] as unknown as { socket: Socket };
    expect(socket.bytesRead).toBeLessThan(10_000);
  });

  test("refuses what is not sealed, and fewer bytes than were announced", async () => {
    const server = await serve();
    const [a, b] = await Promise.all([join(server, 0), join(server, 1)]);
    const { socket } = b as unknown as { socket: Socket };
    const collected = a.collect("key", Buffer.alloc(0));
    await b.gather("key", "1");
    sendFrame(socket, { type: "collect", key: "key", value: Buffer.from("x").toString("base64") });
    await expect(collected).rejects.toThrow(
      '"key": what rank 1 said was changed on its way to rank 0',
    );
    const shortened = a.collect("again", Buffer.alloc(0));
    await b.gather("again", "2");
    const own = seal(token, JSON.stringify(["again", 1, 2, 0, 3]), Buffer.from("two"));
    sendFrame(socket, { type: "collect", key: "again", value: own.toString("base64") });
    await expect(shortened).rejects.toThrow('"again": what rank 1 said was changed');
  });
});
