// Looks for a rendezvous that is not there, in each way in which it may not be.
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { networkInterfaces } from "node:os";
import { afterEach, expect, test } from "vitest";
import { type JoinOptions, joinRendezvous } from "../../lib/ranks/join-rendezvous.js";
import { RendezvousServer } from "../../lib/ranks/rendezvous-server.js";
import { freePort } from "../support/process.js";

const open: { close(): unknown }[] = [];

afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
});

const join = (options: Partial<JoinOptions> & Pick<JoinOptions, "host" | "port">) =>
  joinRendezvous({ rank: 1, worldSize: 2, token: "a secret", timeoutSeconds: 0.4, ...options });

/** A server that does what it likes with every caller. */
async function stranger(greet: (socket: Socket) => void, host = "127.0.0.1"): Promise<number> {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    greet(socket);
  });
  server.listen(0, host);
  await once(server, "listening");
  open.push({ close: () => server.close() });
  return (server.address() as AddressInfo).port;
}

test("nothing listens there: the rank, its host, the place, and what to check", async () => {
  const port = await freePort();
  await expect(join({ host: "127.0.0.1", port })).rejects.toMatchObject({
    code: "ERR_ONEHOUR_RENDEZVOUS",
    message: expect.stringMatching(
      `^rank 1 of 2, on host \\S+, found no rendezvous at 127\\.0\\.0\\.1:${port} within \\d\\.\\d s: ` +
        "127\\.0\\.0\\.1 is this very machine, and nothing listens there \\(connection refused\\)\\. If rank 0",
    ),
  });
});

test("a name that means another machine elsewhere and this one here is said to", async () => {
  const port = await freePort();
  const resolve = async () => ["127.0.1.1"]; // as Debian's /etc/hosts has it
  await expect(join({ host: "node0", port, resolve })).rejects.toThrow(
    /node0 is 127\.0\.1\.1 here, which is this very machine, and nothing listens.*\/etc\/hosts/,
  );
});

test("a name is asked for again until somebody knows it", async () => {
  const server = await RendezvousServer.listen({ worldSize: 2, token: "a secret" });
  open.push(server);
  const answers = ["EAI_AGAIN", "ENOTFOUND", "ENOTFOUND"];
  const resolve = async () => {
    const code = answers.shift();
    if (code !== undefined) throw Object.assign(new Error("getaddrinfo"), { code });
    return ["127.0.0.1"];
  };
  const client = await join({ host: "pod-0", port: server.port, resolve, timeoutSeconds: 60 });
  open.push(client);
  expect(answers).toEqual([]);
});

test("what is in the way at the end is told, though it takes longer than the time that is left", async () => {
  const port = await stranger((socket) => setTimeout(() => socket.write("SSH-2.0-x\r\n"), 300));
  await expect(join({ host: "127.0.0.1", port, timeoutSeconds: 0.4 })).rejects.toThrow(
    /something else listens there/,
  );
});

test("an unknown name", async () => {
  const resolve = async () => {
    throw Object.assign(new Error("getaddrinfo"), { code: "ENOTFOUND" });
  };
  await expect(join({ host: "nobody", port: 1, resolve })).rejects.toThrow(
    /at nobody:1 within .* s: the name is unknown here \(ENOTFOUND\)\. Give an address/,
  );
});

// A container may have no IPv6.
const hasSix = networkInterfaces().lo?.some(({ family }) => family === "IPv6") ?? false;

test.runIf(hasSix)("every address of a name is tried, of either kind", async () => {
  const server = await RendezvousServer.listen({ worldSize: 2, token: "a secret", host: "::1" });
  open.push(server);
  const client = await join({
    host: "both",
    port: server.port,
    resolve: async () => ["127.0.0.1", "::1"],
    timeoutSeconds: 60,
  });
  open.push(client);
  expect(client.localAddress).toBe("::1");
  const port = await freePort();
  await expect(
    join({ host: "both", port, resolve: async () => ["127.0.0.1", "::1"] }),
  ).rejects.toThrow(/both is 127\.0\.0\.1 here.*; both is ::1 here/);
});

test("something that speaks, something that hangs up and something silent are told apart", async () => {
  const told = async (greet: (socket: Socket) => void, message: RegExp) => {
    const port = await stranger(greet);
    // Longer than a busy machine takes to hear it.
    await expect(join({ host: "127.0.0.1", port, timeoutSeconds: 2 })).rejects.toThrow(message);
  };
  await Promise.all([
    told((socket) => socket.write("SSH-2.0-x\r\n"), /something else listens there/),
    told((socket) => socket.destroy(), /something listens there and hangs up/),
    told(() => {}, /something listens there and says nothing/),
  ]);
});

test("another token is told apart, on both sides", async () => {
  const server = await RendezvousServer.listen({
    ...{ worldSize: 2, token: "a secret", startTimeoutSeconds: 3 },
  });
  open.push(server);
  const place = { host: "127.0.0.1", port: server.port };
  const first = await join({ ...place, rank: 0, timeoutSeconds: 60 });
  open.push(first);
  const waits = expect(first.gather("meet", "")).rejects.toThrow(
    /rank 1 of 2 did not come .*; one from 127\.0\.0\.1 came with another token\)/,
  );
  await expect(join({ ...place, token: "a guess", timeoutSeconds: 2 })).rejects.toThrow(
    /hangs up on rank 1: it expects another token\. Either ONEHOUR_TOKEN/,
  );
  await waits;
});
