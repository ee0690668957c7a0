// Runs a user's own script in k processes with `onehour launch`.
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryFolder } from "../support/folder.js";
import { torchrun } from "../support/process.js";
import { firstChild, onehour, typed } from "./command.js";

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

test("a rank of an engine starts no workers of its own", async () => {
  const script = join(folder, "never.ts");
  writeFileSync(script, "");
  const { status, stderr } = await onehour(["launch", script], { env: torchrun(1, 29_500) });
  expect(stderr).toMatch(
    /^onehour: this is one of 2 processes that an engine has started, each of which/,
  );
  expect(status).toBe(2);
});

test("a script that fails ends the command with status 1 and its message last", async () => {
  const script = join(folder, "fails.ts");
  writeFileSync(script, 'throw new Error("no luck today");\n');
  const { status, stderr } = await onehour(["launch", "--workers", "2", script]);
  expect(status).toBe(1);
  expect(stderr.trimEnd().split("\n").at(-1)).toMatch(/^onehour: rank [01]: Error: no luck today$/);
});

test("a module that throws runs once, and its own frames are shown", async () => {
  const script = join(folder, "throws.mjs");
  writeFileSync(script, 'console.log("began");\nthrow new Error("no luck today");\n');
  const { status, stdout, stderr } = await onehour(["launch", "--workers", "1", script]);
  expect(stdout).toBe("began\n");
  expect(stderr).toBe(
    `    at <anonymous> (${script}:2:7)\nonehour: rank 0: Error: no luck today\n`,
  );
  expect(status).toBe(1);
});

test.each([
  ["the command", (pid: number) => pid],
  ["one process", firstChild],
])("a signal to %s ends train() in all, with its status", async (name, to) => {
  const out = join(folder, name);
  const script = join(folder, `${name}.ts`);
  const recipe = {
    dataset: "synthetic:8x8x1:4:32",
    model: "resnet8",
    batch: 4,
    epochs: 1e5,
    device: "cpu",
    threads: 1,
    out,
  };
  writeFileSync(
    script,
    `import { train } from "onehour";
await train(${JSON.stringify(recipe)});\n`,
  );
  const { status, stdout, stderr } = await onehour(["launch", "--workers", "2", script], {
    signal: { name: "SIGTERM", when: () => existsSync(join(out, "checkpoint.safetensors")), to },
  });
  expect(stderr).toBe("");
  expect(stdout.trimEnd().split("\n").at(-1)).toMatch(
    `; continue with: ${typed} train --resume --out '${out}'`,
  );
  expect(status).toBe(143);
});

test("a script that fails after a signal has failed", async () => {
  const script = join(folder, "fails-to-save.ts");
  writeFileSync(
    script,
    `process.on("SIGTERM", () => { throw new Error("no room"); });
setInterval(() => {}, 1000);
console.log("listening");\n`,
  );
  const { status, stderr } = await onehour(["launch", "--workers", "1", script], {
    signal: { name: "SIGTERM", when: ({ stdout }) => stdout.includes("listening") },
  });
  expect(stderr.trimEnd().split("\n").at(-1)).toMatch(/^onehour: rank 0: Error: no room$/);
  expect(status).toBe(1);
});
