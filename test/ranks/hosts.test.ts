// Runs ranks on several hosts, or on one that counts as several: their collectives, a stranger's
// attempts, and the warnings about the network and a missing secret.
import { execFileSync } from "node:child_process";
import { expect, test } from "vitest";
import { freePort, type Run, torchrun } from "../support/process.js";
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

// Root's alone: two networks with a cable between them, as of two hosts.
test.runIf(mayMakeNetworks())(
  "ranks of two networks meet at the addresses between them",
  async () => {
    const names = [0, 1].map((rank) => `onehour-${process.pid}-${rank}`);
    const ends = [0, 1].map((rank) => `oh${process.pid}e${rank}`.slice(-15));
    try {
      for (const name of names) ip(`netns add ${name}`);
      ip(`link add ${ends[0]} netns ${names[0]} type veth peer name ${ends[1]} netns ${names[1]}`);
      for (const rank of [0, 1]) {
        ip(`-n ${names[rank]} address add 192.0.2.${rank + 1}/24 dev ${ends[rank]}`);
        for (const link of ["lo", ends[rank]]) ip(`-n ${names[rank]} link set ${link} up`);
      }
      const runs = [0, 1].map((rank) =>
        node([script("within"), names[rank]!, process.execPath, script("sums")], {
          ...secret,
          RANK: String(rank),
          WORLD_SIZE: "2",
          MASTER_ADDR: "192.0.2.1",
          MASTER_PORT: "29500",
          ONEHOUR_SHM_DISABLE: "1", // which two networks of one kernel would share
        }),
      );
      const { large } = await end(runs);
      expect(large[1]).toBe(large[0]);
    } finally {
      for (const name of names) ip(`netns delete ${name}`);
    }
  },
);
