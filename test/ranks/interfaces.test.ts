// Chooses the address that other ranks use, on machines that are only described.
import type { NetworkInterfaceInfo } from "node:os";
import { describe, expect, test } from "vitest";
import { interfaceOf, ownAddress, sourceTowards } from "../../lib/ranks/interfaces.js";
import { describe as words } from "../../lib/ranks/share-addresses.js";

const at = (address: string): NetworkInterfaceInfo => ({
  ...{ address, netmask: "", mac: "", cidr: null },
  internal: address === "127.0.0.1" || address === "::1",
  ...(address.includes(":") ? { family: "IPv6", scopeid: 0 } : { family: "IPv4" }),
});

const machine = {
  lo: [at("127.0.0.1"), at("::1")],
  docker0: [at("172.17.0.1")],
  eth0: [at("10.0.0.2"), at("fd00::2"), at("fe80::2")],
  eth1: [at("10.1.0.2")],
  ib0: [at("fe80::3")],
};

const choose = (reached: string, env: Record<string, string> = {}) =>
  ownAddress(reached, env, machine, async (host) => {
    const known: Record<string, string[]> = {
      node2: ["127.0.1.1"],
      both: ["127.0.1.1", "10.1.0.2"],
    };
    return known[host] ?? [host];
  });

test.each<[string, string, Record<string, string>, string, string, string]>([
  ["the way to rank 0", "10.0.0.2", {}, "10.0.0.2", "eth0", "the way to rank 0"],
  ["over IPv6", "fd00::2", {}, "fd00::2", "eth0", "the way to rank 0"],
  ["on one link", "fe80::2%eth0", {}, "fe80::2%eth0", "eth0", "the way to rank 0"],
  [
    "ONEHOUR_INTERFACE",
    "10.0.0.2",
    { ONEHOUR_INTERFACE: "eth1" },
    "10.1.0.2",
    "eth1",
    "ONEHOUR_INTERFACE",
  ],
  [
    "a list for hosts that differ",
    "10.0.0.2",
    { ONEHOUR_INTERFACE: "ens3,eth1" },
    "10.1.0.2",
    "eth1",
    "ONEHOUR_INTERFACE",
  ],
  [
    "the reached address of an interface",
    "fd00::2",
    { ONEHOUR_INTERFACE: "eth0" },
    "fd00::2",
    "eth0",
    "ONEHOUR_INTERFACE",
  ],
  [
    "the kind of the reached address",
    "fd01::9",
    { ONEHOUR_INTERFACE: "eth0" },
    "fd00::2",
    "eth0",
    "ONEHOUR_INTERFACE",
  ],
  [
    "an interface with a link-local address alone",
    "10.0.0.2",
    { ONEHOUR_INTERFACE: "ib0" },
    "fe80::3%ib0",
    "ib0",
    "ONEHOUR_INTERFACE",
  ],
  [
    "ONEHOUR_INTERFACE before the others",
    "10.0.0.2",
    { NCCL_SOCKET_IFNAME: "eth0", GLOO_SOCKET_IFNAME: "eth0", ONEHOUR_INTERFACE: "eth1" },
    "10.1.0.2",
    "eth1",
    "ONEHOUR_INTERFACE",
  ],
  ["ONEHOUR_HOST", "10.0.0.2", { ONEHOUR_HOST: "10.1.0.2" }, "10.1.0.2", "eth1", "ONEHOUR_HOST"],
  [
    "ONEHOUR_HOST by a name that is loopback too",
    "10.0.0.2",
    { ONEHOUR_HOST: "both" },
    "10.1.0.2",
    "eth1",
    "ONEHOUR_HOST",
  ],
  [
    "Gloo's before NCCL's",
    "10.0.0.2",
    { GLOO_SOCKET_IFNAME: "eth1", NCCL_SOCKET_IFNAME: "eth0" },
    "10.1.0.2",
    "eth1",
    "GLOO_SOCKET_IFNAME",
  ],
  [
    "NCCL's prefix",
    "10.0.0.2",
    { NCCL_SOCKET_IFNAME: "eth" },
    "10.0.0.2",
    "eth0",
    "NCCL_SOCKET_IFNAME",
  ],
  [
    "NCCL's prefix elsewhere",
    "172.17.0.1",
    { NCCL_SOCKET_IFNAME: "ib,eth1" },
    "10.1.0.2",
    "eth1",
    "NCCL_SOCKET_IFNAME",
  ],
  [
    "NCCL's whole name",
    "10.0.0.2",
    { NCCL_SOCKET_IFNAME: "=eth1" },
    "10.1.0.2",
    "eth1",
    "NCCL_SOCKET_IFNAME",
  ],
  [
    "what NCCL leaves out",
    "10.0.0.2",
    { NCCL_SOCKET_IFNAME: "^docker,lo" },
    "10.0.0.2",
    "eth0",
    "NCCL_SOCKET_IFNAME",
  ],
  [
    "what NCCL leaves out by its whole name",
    "172.17.0.1",
    { NCCL_SOCKET_IFNAME: "^=docker0,lo,eth0" },
    "10.1.0.2",
    "eth1",
    "NCCL_SOCKET_IFNAME",
  ],
  [
    "an empty variable is none",
    "10.0.0.2",
    { ONEHOUR_INTERFACE: "", NCCL_SOCKET_IFNAME: "" },
    "10.0.0.2",
    "eth0",
    "the way to rank 0",
  ],
])("%s", async (_, reached, env, address, name, why) => {
  expect(await choose(reached, env)).toEqual({ address, interface: name, why });
});

test("rank 0 behind a connection that this machine passes on", async () => {
  const { address, why } = await choose("127.0.0.1");
  expect([address, why]).toEqual(["10.0.0.2", expect.stringContaining("by loopback")]);
});

describe("refuses with what there is", () => {
  test.each<[string, Record<string, string>]>([
    ['ONEHOUR_INTERFACE is "eth"', { ONEHOUR_INTERFACE: "eth" }],
    ['GLOO_SOCKET_IFNAME is "nowhere0"', { GLOO_SOCKET_IFNAME: "nowhere0" }],
    ['NCCL_SOCKET_IFNAME is "=eth"', { NCCL_SOCKET_IFNAME: "=eth" }],
  ])("%s", async (problem, env) => {
    await expect(choose("10.0.0.2", env)).rejects.toMatchObject({
      code: "ERR_ONEHOUR_ENVIRONMENT",
      message: expect.stringContaining(`${problem}, which no interface with an address fits here`),
    });
    await expect(choose("10.0.0.2", env)).rejects.toThrow(
      "expected one of eth0 (10.0.0.2, fd00::2, fe80::2), eth1 (10.1.0.2), ib0 (fe80::3), " +
        "docker0 (172.17.0.1), lo (127.0.0.1, ::1); unset it",
    );
  });

  test("a name of this machine that is loopback alone", async () => {
    await expect(choose("10.0.0.2", { ONEHOUR_HOST: "node2" })).rejects.toThrow(
      /ONEHOUR_HOST is "node2", which is 127\.0\.1\.1 here, expected a name or address of this machine/,
    );
  });
});

test("the interface of an address", () => {
  expect(interfaceOf("10.1.0.2", machine)).toBe("eth1");
  expect(interfaceOf("fe80::3%ib0", machine)).toBe("ib0");
  expect(interfaceOf("192.0.2.1", machine)).toBeUndefined();
});

test("hosts that chose alike are named together, of many the first", () => {
  const host = (name: string, number: number, by = "eth0") => ({
    ...{ host: name, address: `10.0.0.${number}`, interface: by, why: "the way to rank 0" },
  });
  expect(words([host("a", 1), host("a", 1), host("b", 2)])).toMatch(
    /^their sockets go by eth0, the way to rank 0 \(a 10\.0\.0\.1, b 10\.0\.0\.2\)/,
  );
  expect(words([host("a", 1), host("b", 2, "ens3")])).toMatch(
    /eth0, the way to rank 0 \(a 10\.0\.0\.1\) and ens3, the way to rank 0 \(b 10\.0\.0\.2\)/,
  );
  const many = Array.from({ length: 20 }, (_, i) => host(`n${i}`, i));
  expect(words(many)).toMatch(/n7 10\.0\.0\.7, 12 more\)/);
});

test("the way to another machine, where there is one", async () => {
  expect(await sourceTowards("127.0.0.1")).toBe("127.0.0.1");
  // Nobody may call all at once without asking for that, if the way is there at all.
  expect(await sourceTowards("255.255.255.255")).toBeUndefined();
});
