// Admits ranks that know the token to the rendezvous, and no strangers.
import { createHmac, randomBytes } from "node:crypto";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { connect, type Socket } from "node:net";
import { describe, expect, test } from "vitest";
import { FrameReader, sendFrame } from "../../lib/ranks/frames.js";
import { joinRendezvous } from "../../lib/ranks/join-rendezvous.js";
import { join, open, serve, text, token } from "./rendezvous.js";

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
