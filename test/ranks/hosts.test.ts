// Runs ranks on several hosts, or on one that counts as several: their collectives, a stranger's
// attempts, and the warnings about the network and a missing secret.
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
