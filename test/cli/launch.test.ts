// `onehour launch` runs a user's own script in k processes.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { onehour, temporaryFolder } from "./command.js";

const folder = temporaryFolder();

test("a TypeScript script gets its arguments and a rank in each process", async () => {
  const script = join(folder, "ranks.ts");
  writeFileSync(
    script,
    `const rank: string = process.env.ONEHOUR_RANK!;
console.log(\`rank \${rank} of \${process.env.ONEHOUR_WORLD_SIZE} got \${process.argv.slice(2)}\`);\n`,
  );
  const args = ["launch", "--workers", "2", script, "--steps", "3"];
  const { status, stdout } = await onehour(args);
  expect(stdout).toMatch("rank 0 of 2 got --steps,3");
  expect(stdout).toMatch("rank 1 of 2 got --steps,3");
  expect(status).toBe(0);
});

test("a script that fails ends the command with status 1 and its message last", async () => {
  const script = join(folder, "fails.ts");
  writeFileSync(script, 'throw new Error("no luck today");\n');
  const { status, stderr } = await onehour(["launch", "--workers", "2", script]);
  expect(status).toBe(1);
  expect(stderr.trimEnd().split("\n").at(-1)).toMatch(/^onehour: rank [01]: Error: no luck today$/);
});
