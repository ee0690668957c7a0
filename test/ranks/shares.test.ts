// Ranks on one machine: how many they find they are, and how they divide its cores.
import { expect, test } from "vitest";
import { coreLimits } from "../../lib/device/cores.js";
import { ownProcessors } from "../../lib/device/numa.js";
import { freePort, start, torchrun } from "../support/process.js";
import { script } from "./command.js";

const own = ownProcessors();
const quota = Math.min(...coreLimits().map(({ cores }) => cores / 2));
const whole = (cores: number) => Math.max(1, Math.floor(Math.min(cores, quota)));

/** What two ranks print, each started with some more words before its command. */
async function ranks(
  env: Record<string, string | undefined>,
  prefix: (rank: number) => string[] = () => [],
): Promise<string[]> {
  const port = await freePort();
  const runs = [0, 1].map((rank) =>
    start([...prefix(rank), process.execPath, script("share")], {
      env: { ...torchrun(rank, port), ONEHOUR_TOKEN: "the same", ...env },
    }),
  );
  return await Promise.all(
    runs.map(async (run) => {
      expect(await run.ended, run.stderr).toMatchObject({ status: 0 });
      return run.stdout.trim();
    }),
  );
}

test("ranks without LOCAL_WORLD_SIZE count themselves: rank 0 no longer takes all cores", async () => {
  const cores = whole(own.length / 2);
  const expected = [`0 2 ${cores}`, `1 2 ${cores}`];
  expect(await ranks({ LOCAL_WORLD_SIZE: undefined })).toEqual(expected);
  expect(await ranks({ LOCAL_WORLD_SIZE: undefined, LOCAL_RANK: undefined })).toEqual(expected);
});

test("ranks that their engine bound to cores of their own do not divide these again", async () => {
  const half = Math.ceil(own.length / 2);
  const sets = [own.slice(0, half), own.slice(-half)]; // one set on a machine of one core
  const shares = own.length === 1 ? [1, 1] : sets.map(({ length }) => length);
  if (own.length % 2 === 1 && own.length > 1) for (const rank of [0, 1]) shares[rank]! -= 0.5;
  const output = await ranks({}, (rank) => ["taskset", "-c", sets[rank]!.join(",")]);
  expect(output).toEqual(shares.map((share, rank) => `${rank} 2 ${whole(share)}`));
});
