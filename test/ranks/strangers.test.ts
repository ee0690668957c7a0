// Runs workers while a stranger connects to every open port, and checks which ports are open.
import { expect, test } from "vitest";
import type { Run } from "../support/process.js";
import { launcher, node, script } from "./command.js";
import { listenersOf } from "./sockets.js";

/** All addresses on which a run listens before it ends. */
async function everListened(run: Run): Promise<Set<string>> {
  const all = new Set<string>();
  let over = false;
  void run.ended.then(() => {
    over = true;
  });
  while (!over) {
    for (const listener of listenersOf(run.child.pid!)) all.add(listener);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  return all;
}

test("workers of one machine open nothing but the rendezvous", async () => {
  const run = launcher(2, 60, "sums");
  const all = await everListened(run);
  expect(await run.ended, run.stderr).toMatchObject({ status: 0 });
  expect([...all]).toEqual([expect.stringMatching(/^tcp /)]);
});

test.each([
  ["through memory", {}, 2],
  ["through Unix sockets", { ONEHOUR_SHM_DISABLE: "1" }, 1],
])("a stranger that calls everywhere ends no start %s", async (_, env, starts) => {
  for (let start = 0; start < starts; start++) {
    const command = [process.execPath, script("launcher"), "2", "60", script("sums")];
    const run = node([script("stranger"), ...command], env);
    expect(await run.ended, run.stderr).toMatchObject({ status: 0 });
    expect(run.stdout.trim().split("\n")).toHaveLength(2);
    expect(run.stderr).toMatch(/^called tcp \d+: \d+ times$/m);
  }
});
