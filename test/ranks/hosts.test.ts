// Runs ranks on several hosts, or on one that counts as several: their collectives, a stranger's
// attempts, and the warnings about the network and a missing secret.
import { execFileSync } from "node:child_process";
import { describe, expect, test } from "vitest";
import { freePort, type Run, torchrun, until } from "../support/process.js";
import { node, script } from "./command.js";

/** Two ranks as torchrun starts them, each with variables of its own. */
async function start(
  command: readonly string[],
  env: (rank: number) => Record<string, string>,
): Promise<Run[]> {
  const port = await freePort();
  return [0, 1].map((rank) => node(command, { ...torchrun(rank, port), ...env(rank) }));
}

/** What the ranks computed, by rank, and what they said. */
async function end(runs: readonly Run[]): Promise<{ large: string[]; said: string[] }> {
  for (const run of runs) expect(await run.ended, run.stderr).toMatchObject({ status: 0 });
  const results = runs.map(({ stdout }) => JSON.parse(stdout) as { large: string });
  return { large: results.map(({ large }) => large), said: runs.map(({ stderr }) => stderr) };
}

/** Ranks with different ONEHOUR_HOSTs count as ranks of different hosts. */
const hosts = (rank: number) => ({ ONEHOUR_HOST: `127.0.0.${rank + 1}` });
const secret = { ONEHOUR_TOKEN: "the same for all" };

test("ranks of two hosts compute the same bits, and rank 0 names what must be trusted", async () => {
  const { large, said } = await end(
    await start([script("sums")], (rank) => ({ ...hosts(rank), ...secret })),
  );
  expect(large[1]).toBe(large[0]);
  expect(said[0]!.match(/ONEHOUR_NETWORK.*the ranks are on 2 hosts/g)).toHaveLength(1);
  expect(said[0]).not.toContain("ONEHOUR_TOKEN");
  expect(said[1]).toBe("");
});

test("names a rank that leaves early with the address that the system shows", async () => {
  const command = [script("loop"), "leave"];
  const [first, second] = await start(command, (rank) => ({ ...hosts(rank), ...secret }));
  expect(await second!.ended).toMatchObject({ status: 0 });
  expect((await first!.ended).status).not.toBe(0);
  expect(first!.stderr).toMatch(
    /rank 0 on \S+: .* failed: rank 1 at 127\.0\.0\.\d:\d+ (has closed its connection|is lost: )/,
  );
});

test("rank 0 says once that a foreign launcher gave no secret", async () => {
  const { said } = await end(await start([script("sums")], () => ({})));
  expect(said[0]!.match(/ONEHOUR_TOKEN is not set/g)).toHaveLength(1);
  expect(said[0]).not.toContain("ONEHOUR_NETWORK");
  expect(said[1]).toBe("");
});

test("warns of nothing with a secret on one host", async () => {
  const { said } = await end(await start([script("sums")], () => secret));
  expect(said).toEqual(["", ""]);
});

test("rank 0 repeats once what a communicator's library remarks about several hosts", async () => {
  const between = await end(
    await start([script("remarks")], (rank) => ({ ...hosts(rank), ...secret })),
  );
  expect(between.said[0]!.match(/ONEHOUR_COLLECTIVES.*nothing is registered here/g)).toHaveLength(
    1,
  );
  expect(between.said[1]).toBe("");
  const within = await end(await start([script("remarks")], () => secret));
  expect(within.said).toEqual(["", ""]);
});

test("a stranger that calls at every port between hosts ends no start", async () => {
  const among = [script("stranger"), process.execPath, script("sums")];
  const { large, said } = await end(await start(among, (rank) => ({ ...hosts(rank), ...secret })));
  expect(large[1]).toBe(large[0]);
  expect(said[0]).toMatch(/^called tcp \d+: \d+ times$/m);
});

const ip = (line: string) => execFileSync("ip", line.split(" "), { stdio: "pipe" });

function mayMakeNetworks(): boolean {
  try {
    ip(`netns add onehour-try-${process.pid}`);
    ip(`netns delete onehour-try-${process.pid}`);
    return true;
  } catch {
    return false;
  }
}

test("an interface that one host lacks is refused on all, with those that it has", async () => {
  const runs = await start([script("sums")], (rank) => ({
    ...{ ...hosts(rank), ...secret },
    ...(rank === 1 ? { ONEHOUR_INTERFACE: "nowhere0" } : {}),
  }));
  const problem = 'ONEHOUR_INTERFACE is "nowhere0", which no interface with an address fits here';
  const [first, second] = await Promise.all(runs.map(({ ended }) => ended));
  expect(first).toMatchObject({ status: 1 });
  expect(second).toMatchObject({ status: 1 });
  expect(second!.stderr).toMatch(new RegExp(`${problem}, expected one of .*lo \\(127\\.0\\.0\\.1`));
  expect(first!.stderr).toContain(`rank 1 on host 127.0.0.2: ${problem}`);
});

/** Two networks on a switch, as of two hosts, with a rank in each. */
async function withTwoNetworks(
  addresses: readonly [string, string],
  body: (
    start: (command: readonly string[], env?: Record<string, string>) => Run[],
    cut: () => void,
  ) => Promise<void>,
): Promise<void> {
  const [hub, ...names] = ["hub", 0, 1].map((name) => `onehour-${process.pid}-${name}`);
  try {
    for (const name of [hub, ...names]) ip(`netns add ${name}`);
    ip(`-n ${hub} link add hub type bridge`);
    ip(`-n ${hub} link set hub up`);
    for (const [rank, name] of names.entries()) {
      ip(`link add port${rank} netns ${hub} type veth peer name eth0 netns ${name}`);
      ip(`-n ${hub} link set port${rank} master hub up`);
      const options = addresses[rank]!.includes(":") ? " nodad" : "";
      ip(`-n ${name} address add ${addresses[rank]} dev eth0${options}`);
      for (const link of ["lo", "eth0"]) ip(`-n ${name} link set ${link} up`);
    }
    const start = (command: readonly string[], env = {}) =>
      names.map((name, rank) =>
        node([script("within"), name, process.execPath, ...command], {
          ...secret,
          RANK: String(rank),
          WORLD_SIZE: "2",
          MASTER_ADDR: addresses[0].replace(/\/.*/, ""),
          MASTER_PORT: "29500",
          ONEHOUR_SHM_DISABLE: "1", // which two networks of one kernel would share
          ...env,
        }),
      );
    await body(start, () => ip(`-n ${hub} link set port1 nomaster`));
  } finally {
    for (const name of [hub, ...names]) ip(`netns delete ${name}`);
  }
}

// Root's alone.
describe.runIf(mayMakeNetworks())("two networks", () => {
  test.each<[string, [string, string]]>([
    ["IPv4", ["192.0.2.1/24", "192.0.2.2/24"]],
    ["IPv6 alone", ["2001:db8::1/64", "2001:db8::2/64"]],
  ])("ranks meet at the addresses between them, %s", async (_, addresses) => {
    await withTwoNetworks(addresses, async (start) => {
      const { large, said } = await end(start([script("sums")]));
      expect(large[1]).toBe(large[0]);
      const own = addresses.map((address) => address.replace(/\/.*/, ""));
      expect(said[0]).toMatch(
        new RegExp(`go by eth0, the way to rank 0 \\(\\S+ ${own[0]}, \\S+ ${own[1]}\\)`),
      );
    });
  });

  test("when the cable is cut, each rank names the other one", async () => {
    await withTwoNetworks(["192.0.2.1/24", "192.0.2.2/24"], async (start, cut) => {
      const runs = start([script("loop"), "endless"], { ONEHOUR_TIMEOUT: "20" });
      for (const run of runs) await until(() => run.stdout.includes("round 20"));
      cut();
      for (const [rank, run] of runs.entries()) {
        expect(await run.ended).toMatchObject({ status: 1 });
        const other = `rank ${1 - rank} on \\S+, whose machine does not answer`;
        expect(run.stderr).toMatch(new RegExp(`rank ${rank} on \\S+: waited for ${other}`));
      }
    });
  });
});
