// Trains and launches over several "machines", each a command of its own on this one: how they meet, and what
// each says at the end.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { recipeOf, temporaryFolder } from "../support/folder.js";
import { freePort, lastLine, type Run, start } from "../support/process.js";
import { main } from "./command.js";

const folder = temporaryFolder();

/** Starts a command once a node; each gets its flags on top of those of the nodes. */
async function startNodes(
  words: readonly string[],
  flags: (node: number) => readonly string[] = () => [],
  { nodes = 2, env = {} }: { nodes?: number; env?: Record<string, string> } = {},
): Promise<Run[]> {
  const rendezvous = `127.0.0.1:${await freePort()}`;
  const [command, ...rest] = words;
  return Array.from({ length: nodes }, (_, node) => {
    const own = ["--nodes", `${nodes}`, "--node-rank", `${node}`, "--rendezvous", rendezvous];
    const args = [command!, ...own, ...flags(node), ...rest];
    return start([process.execPath, main, ...args], {
      env: { ONEHOUR_TOKEN: "the same for all", ...env },
    });
  });
}

const tiny = (epochs: number) => [
  ...["train", "synthetic:8x8x1:4:64", "--model", "resnet8", "--device", "cpu", "--threads", "1"],
  ...["--batch", "4", "--epochs", `${epochs}`],
];

test("two nodes of two workers train one recipe, and node 0 keeps the run", async () => {
  const out = join(folder, "four");
  const runs = await startNodes(tiny(1), (node) => [
    ...["--workers-per-node", "2", "--out", node === 0 ? out : join(folder, "elsewhere")],
  ]);
  for (const run of runs) expect(await run.ended, run.stderr).toMatchObject({ status: 0 });
  expect(runs[0]!.stdout).toMatch(/^minibatch 4 × 1 × 4 = 16,/m);
  expect(lastLine(runs[0]!.stdout)).toBe(`run folder: ${out}`);
  expect(runs[1]!.stdout).toMatch(
    /^node 1 of 2: ranks 2 and 3 of the run that node 0 on .+ leads$/m,
  );
  expect(lastLine(runs[1]!.stdout)).toBe("node 1 of 2: the run has finished");
  expect(runs.map(({ stderr }) => stderr)).toEqual(["", ""]);
  expect(recipeOf(out)).toMatchObject({ workers: 4, batch: 4, accumulate: 1 });
  expect(existsSync(join(folder, "elsewhere"))).toBe(false);
});

test("nodes that were asked for different things are told which", async () => {
  const runs = await startNodes(tiny(1), (node) => ["--lr", node === 0 ? "0.1" : "0.2"]);
  for (const run of runs) {
    expect(await run.ended).toMatchObject({ status: 1 });
    expect(lastLine(run.stderr)).toMatch(
      /^onehour: node 1 \(host .+\) has --lr 0.2, node 0 \(host .+\) has --lr 0.1\. Start all nodes with/,
    );
  }
});
