// Where rank 0's machine listens.
import { afterEach, describe, expect, test } from "vitest";
import { RankServer } from "../../lib/ranks/rank-server.js";
import { RendezvousServer } from "../../lib/ranks/rendezvous-server.js";

const token = "a secret";
const open: { close(): unknown }[] = [];

afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
});

test("a port that is taken on a machine of another address is reported in words", async () => {
  const other = await RendezvousServer.listen({ worldSize: 2, token: "other", host: "::" });
  // An address for documentation (RFC 5737), which no machine has.
  const asked = { worldSize: 2, token: "own", host: "192.0.2.1", port: other.port };
  await expect(RankServer.host(asked)).rejects.toMatchObject({
    code: "ERR_ONEHOUR_RENDEZVOUS",
    message: expect.stringMatching(
      /cannot listen at 192\.0\.2\.1:\d+ \(EADDRINUSE\). Choose a free port/,
    ),
  });
  await other.close();
});

describe("rank 0 listens", () => {
  const addressOf = async (options: Partial<Parameters<typeof RankServer.host>[0]>) => {
    const remarks: string[] = [];
    const server = await RankServer.host({
      ...{ worldSize: 2, token, host: "node0", port: 0, remark: (text) => remarks.push(text) },
      ...options,
    });
    open.push(server);
    const { address } = server as unknown as { address: string };
    return { address, remarks, own: server.ownAddress };
  };
  const debian = async () => ["127.0.1.1"];
  const everywhere = /^(::|0\.0\.0\.0)$/;

  test("a name that is loopback here, Debian's habit, keeps nobody out", async () => {
    const { address, own } = await addressOf({ resolve: debian });
    expect(address).toMatch(everywhere);
    expect(own).toBe("127.0.0.1");
  });

  test("with all ranks on this machine, and where loopback was asked for, it stays that", async () => {
    expect((await addressOf({ resolve: debian, isLocal: true })).address).toBe("127.0.1.1");
    expect((await addressOf({ host: "127.0.0.1" })).address).toBe("127.0.0.1");
  });

  test("a name that is not known yet keeps nobody out, and is said", async () => {
    const resolve = async () => {
      throw Object.assign(new Error("getaddrinfo"), { code: "ENOTFOUND" });
    };
    const { address, remarks } = await addressOf({ resolve });
    expect(address).toMatch(everywhere);
    expect(remarks).toEqual([
      expect.stringMatching(/"node0", where rank 0 is to be, names no host/),
    ]);
    await expect(addressOf({ resolve, isLocal: true })).rejects.toThrow(/names no host here/);
  });

  test("a name of several addresses is reached by all", async () => {
    const { address } = await addressOf({ resolve: async () => ["192.0.2.1", "2001:db8::1"] });
    expect(address).toMatch(everywhere);
  });
});
