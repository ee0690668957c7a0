// Trains and launches over several "machines", each a command of its own on this one. What happens where they are
// killed, stopped or late is in nodes.heavy.ts.
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { recipeOf, temporaryFolder } from "../support/folder.js";
import { lastLine } from "../support/process.js";
import { startNodes, tiny } from "./nodes.js";

const folder = temporaryFolder();

test("two nodes of two workers train one recipe, and node 0 keeps the run", async () => {
  const out = join(folder, "four");
  const runs = await startNodes(tiny(1), {
    flags: (node) => [
      ...["--workers-per-node", "2", "--out", node === 0 ? out : join(folder, "elsewhere")],
    ],
  });
  for (const run of runs) expect(await run.ended, run.stderr).toMatchObject({ status: 0 });
  expect(runs[0]!.stdout).toMatch(/^minibatch 4 × 1 × 4 = 16,/m);
  expect(runs[0]!.stdout).toMatch(`\nrun folder: ${out}\n`);
  expect(lastLine(runs[0]!.stdout)).toMatch(new RegExp(`^report: .* report ${out}$`));
  expect(runs[1]!.stdout).toMatch(
    /^node 1 of 2: ranks 2 and 3 of the run that node 0 on .+ leads$/m,
  );
  expect(lastLine(runs[1]!.stdout)).toBe("node 1 of 2: the run has finished");
  expect(runs.map(({ stderr }) => stderr)).toEqual(["", ""]);
  expect(recipeOf(out)).toMatchObject({ workers: 4, batch: 4, accumulate: 1 });
  expect(existsSync(join(folder, "elsewhere"))).toBe(false);
});

test("nodes that were asked for different things are told which", async () => {
  const runs = await startNodes(tiny(1), { flags: (node) => ["--lr", node === 0 ? "0.1" : "0.2"] });
  for (const run of runs) {
    expect(await run.ended).toMatchObject({ status: 1 });
    expect(lastLine(run.stderr)).toMatch(
      /^onehour: node 1 \(host .+\) has --lr 0.2, node 0 \(host .+\) has --lr 0.1\. Start all nodes with/,
    );
  }
});

test("a script runs on several nodes, in global ranks", async () => {
  const script = join(folder, "ranks.ts");
  writeFileSync(
    script,
    `import { connect } from "onehour";
const world = await connect();
console.log("of", (await world.gather("ranks", String(world.rank))).join());
await world.close();\n`,
  );
  const runs = await startNodes(["launch", "--workers", "4", script]);
  for (const run of runs) expect(await run.ended, run.stderr).toMatchObject({ status: 0 });
  const lines = runs.flatMap(({ stdout }) => stdout.match(/^.*of 0,1,2,3$/gm) ?? []);
  expect(lines.sort()).toEqual([
    "[1] of 0,1,2,3",
    "[2] of 0,1,2,3",
    "[3] of 0,1,2,3",
    "of 0,1,2,3",
  ]);
});
