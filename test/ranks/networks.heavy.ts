// Runs ranks in networks of their own, joined by a switch, as on two hosts.
import { execFileSync } from "node:child_process";
import { describe, expect, test } from "vitest";
import { type Run, until } from "../support/process.js";
import { node, script } from "./command.js";

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
          ONEHOUR_TOKEN: "the same for all",
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
      const runs = start([script("sums")]);
      for (const run of runs) expect(await run.ended, run.stderr).toMatchObject({ status: 0 });
      const [first, second] = runs.map(({ stdout }) => JSON.parse(stdout) as { large: string });
      expect(second!.large).toBe(first!.large);
      const own = addresses.map((address) => address.replace(/\/.*/, ""));
      expect(runs[0]!.stderr).toMatch(
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
