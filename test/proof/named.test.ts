// The cases of some ops, compared by name.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";

const command = fileURLToPath(new URL("../../dist/proof/main.js", import.meta.url));
const proof = (...options: string[]) =>
  spawnSync(process.execPath, [command, ...options], { encoding: "utf8" });

it("compares every case that has the op, and no other, with the CPU and with PyTorch", () => {
  const { status, stdout, stderr } = proof("relu-backward", "scale", "--device", "emulated");
  expect(status, stdout + stderr).toBe(0);
  const lines = stdout.trim().split("\n");
  expect(lines).toContainEqual(
    expect.stringMatching(
      /^ok relu: odd size, f32: \d+ with the CPU, .* \d+ with PyTorch, largest error \d+ %/,
    ),
  );
  expect(lines).toContainEqual(expect.stringMatching(/^ok add: relu bf16, bf16: /));
  expect(lines).toContainEqual(expect.stringMatching(/^ok scale: 1 element, f32: /));
  expect(stdout).not.toMatch(/max-pool|add: plain|many elements/);
  expect(lines.at(-1)).toBe(
    `proof: ${lines.length - 2} cases of relu-backward, scale on emulated, all good`,
  );
});

it("refuses ops that there are not, and flags of the stages", () => {
  const unknown = proof("relu", "conv2dd");
  expect(unknown.status).toBe(2);
  expect(unknown.stderr).toMatch(/^proof: there is no op conv2dd; did you mean conv2d\?$/m);
  expect(proof("relu", "--stage", "1").status).toBe(2);
});

it("prints its usage when asked", () => {
  const { status, stdout, stderr } = proof("--help");
  expect(status, stderr).toBe(0);
  expect(stdout).toMatch(/^usage: npm run proof -- /);
  expect(proof("--hepl").status).toBe(2);
});
