// Meets at the rendezvous with ranks, late ranks and strangers.
import { createHmac, randomBytes } from "node:crypto";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { connect, type Socket } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { FrameReader, sendFrame } from "../../lib/ranks/frames.js";
import { joinRendezvous } from "../../lib/ranks/join-rendezvous.js";
import { seal, unseal } from "../../lib/ranks/rendezvous.js";
import type { RendezvousClient } from "../../lib/ranks/rendezvous-client.js";
import { RendezvousServer, type ServerOptions } from "../../lib/ranks/rendezvous-server.js";

const token = "a secret";
const open: { close(): unknown }[] = [];

afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
});

async function serve(options: Partial<ServerOptions> = {}): Promise<RendezvousServer> {
  const server = await RendezvousServer.listen({ worldSize: 2, token, ...options });
  open.push(server);
  return server;
}

async function join(
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

/** A connection that says what it likes; resolves to the bytes received when the server hangs up. */
function stranger(port: number, talk: (socket: Socket) => void): Promise<Buffer> {
  return new Promise((resolve) => {
    const received: Buffer[] = [];
    const socket = connect(port, "127.0.0.1", () => talk(socket));
    open.push({ close: () => socket.destroy() });
    socket.on("data", (bytes) => received.push(bytes));
    socket.on("error", () => {});
    socket.on("close", () => resolve(Buffer.concat(received)));
  });
}

function text(values: Buffer[]): string[] {
  return values.map(String);
}

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

describe("admission", () => {
  test("a client waits for a server that starts later", async () => {
    const early = await serve();
    const { port } = early;
    await early.close();
    const client = joinRendezvous({
      rank: 0,
      worldSize: 1,
      token,
      host: "127.0.0.1",
      port,
      timeoutSeconds: 5,
    });
    await new Promise((resolve) => setTimeout(resolve, 300));
    await serve({ worldSize: 1, port });
    const joined = await client;
    open.push(joined);
    expect(text(await joined.gather("x", "y"))).toEqual(["y"]);
  });

  test("a wrong token gets nowhere", async () => {
    const server = await serve();
    const attempt = join(server, 0, { token: "a guess", timeoutSeconds: 0.4 });
    await expect(attempt).rejects.toThrow(/found no rendezvous at 127.0.0.1:\d+ within 0.4 s/);
  });

  test("a client leaves a server that does not know the token", async () => {
    const server = await serve({ token: "an impostor's" });
    await expect(join(server, 0, { timeoutSeconds: 0.4 })).rejects.toThrow(/no rendezvous/);
  });

  test.each([
    [
      "a rank that is there already",
      { rank: 1 },
      /rank 1 is here already, from host \S+; this one is on host \S+/,
    ],
    [
      "another world size",
      { rank: 0, worldSize: 3 },
      /rank 0 of 3, on host \S+, came to a meeting of 2 ranks on host/,
    ],
    ["a rank beyond the world", { rank: 2 }, /rank 2 of 2/],
  ])("refuses %s and says why", async (_, { rank, ...options }, message) => {
    const server = await serve();
    await join(server, 1);
    await expect(join(server, rank, options)).rejects.toThrow(message);
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

describe("strangers", () => {
  const frame = (value: unknown) => {
    const body = Buffer.from(typeof value === "string" ? value : JSON.stringify(value));
    const length = Buffer.alloc(4);
    length.writeUInt32BE(body.length);
    return Buffer.concat([length, body]);
  };
  const hello = { type: "hello", rank: 0, worldSize: 2, nonce: "0".repeat(64), host: "h" };

  test.each<[string, Buffer]>([
    ["HTTP", Buffer.from("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")],
    ["noise", randomBytes(4096)],
    ["a frame of 4 GiB", Buffer.from([255, 255, 255, 255])],
    ["a frame above the greeting's limit", frame("x".repeat(1025))],
    ["no JSON", frame("{")],
    ["JSON that is not an object", frame("[1]")],
    ["null", frame("null")],
    ["deep nesting", frame("[".repeat(1000))],
    ["another first frame", frame({ type: "gather", key: "x", value: "" })],
    ["no proof", frame(hello)],
    ["a proof of another type", frame({ ...hello, proof: { length: 64 } })],
    ["a wrong proof", frame({ ...hello, proof: "0".repeat(64) })],
    [
      "a proof for another challenge",
      frame({
        ...hello,
        proof: createHmac("sha256", token)
          .update(JSON.stringify(["client", "0".repeat(64), hello.nonce, 0, 2, "h"]))
          .digest("hex"),
      }),
    ],
    ["a rank that is not a number", frame({ ...hello, rank: "0" })],
  ])("%s is dropped, and the ranks meet", async (_, bytes) => {
    const server = await serve();
    const received = await stranger(server.port, (socket) => socket.write(bytes));
    // Nothing but the challenge was said.
    expect([...new FrameReader(1024).push(received)].map(({ type }) => type)).toEqual([
      "challenge",
    ]);
    const [a, b] = await Promise.all([join(server, 0), join(server, 1)]);
    const [values] = await Promise.all([a.gather("x", "a"), b.gather("x", "b")]);
    expect(text(values)).toEqual(["a", "b"]);
  });

  test("silent connections make room for ranks, and their number is limited", async () => {
    const server = await serve();
    const accepted: Socket[] = [];
    let most = 0;
    const count = (message: unknown) => {
      const { socket } = message as { socket: Socket };
      if (socket.localPort !== server.port) return;
      accepted.push(socket);
      most = Math.max(most, accepted.filter(({ destroyed }) => !destroyed).length);
    };
    subscribe("net.server.socket", count);
    open.push({ close: () => unsubscribe("net.server.socket", count) });
    for (let i = 0; i < 200; i++) void stranger(server.port, () => {});
    const [a, b] = await Promise.all([join(server, 0), join(server, 1)]);
    const [values] = await Promise.all([a.gather("x", "a"), b.gather("x", "b")]);
    expect(text(values)).toEqual(["a", "b"]);
    await expect.poll(() => accepted.length, { timeout: 500_000 }).toBeGreaterThanOrEqual(202);
    // The two ranks, 128 unknown connections, and one for each rank that may still be unknown.
    expect(most).toBeLessThanOrEqual(132);
  });

  test("a member that breaks the protocol is disconnected, nobody else", async () => {
    const server = await serve();
    const [a] = await Promise.all([join(server, 0)]);
    const reader = new FrameReader(4096);
    const gone = stranger(server.port, (socket) => {
      socket.on("data", (bytes) => {
        for (const { type, nonce } of reader.push(bytes)) {
          if (type === "challenge") {
            const proof = createHmac("sha256", token)
              .update(JSON.stringify(["client", nonce, hello.nonce, 1, 2, "h"]))
              .digest("hex");
            sendFrame(socket, { ...hello, rank: 1, proof });
          } else sendFrame(socket, { type: "gather", key: { toString: "x" }, value: 3 });
        }
      });
    });
    const waiting = a.gather("x", "");
    await Promise.all([gone, expect(waiting).rejects.toThrow(/rank 1 on host h ended before "x"/)]);
  });
});
