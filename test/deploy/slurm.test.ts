// Runs deploy/slurm.sh as sbatch does, with an srun that only says how it was called.
import { spawnSync } from "node:child_process";
import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { read, root } from "../docs/pages.js";
import { temporaryFolder } from "../support/folder.js";
import { launcherFree } from "../support/process.js";
import { parsed } from "./parsed.js";

const folder = temporaryFolder();
const script = join(root, "deploy/slurm.sh");

test("bash takes the script, and Slurm's directives come before the first command", () => {
  expect(spawnSync("bash", ["-n", script], { encoding: "utf8" }).stderr).toBe("");
  const [head] = read("deploy/slurm.sh").split(/^[^#\n]/m);
  for (const directive of ["--requeue", "--signal=USR1@300", "--open-mode=append", "--nodes=2"])
    expect(head).toContain(`#SBATCH ${directive}\n`);
});

test("it hands its arguments to one command a node, which resumes and asks for the requeue", () => {
  writeFileSync(
    join(folder, "srun"),
    '#!/bin/sh\nprintf "%s\\n" "$SRUN_CPUS_PER_TASK" "$ONEHOUR_TOKEN" "$$" "$@"\nexit 7\n',
  );
  chmodSync(join(folder, "srun"), 0o755);
  const args = ["fashion-mnist", "--epochs", "2", "--out", "runs/a b"];
  const run = spawnSync("bash", [script, ...args], {
    cwd: folder,
    encoding: "utf8",
    env: { ...launcherFree(), PATH: `${folder}:${process.env.PATH}`, SLURM_CPUS_PER_TASK: "64" },
  });
  const [cores, token, pid, name, ...command] = run.stdout.trimEnd().split("\n");
  expect([cores, name]).toEqual(["64", "onehour"]);
  expect(token).toMatch(/^[0-9a-f]{64}$/);
  expect(Number(pid)).toBe(run.pid); // srun takes the shell's place, so the shell's signals are its own
  expect(run.status).toBe(7);
  expect(command.slice(0, 6)).toEqual(["train", ...args]);
  expect(parsed(command)).toMatchObject({ resume: "auto", requeue: true, out: "runs/a b" });
});
