// The doctor as a user runs it, on machines that lack something: a line says what, with a command, and the exit status
// whether a run can start.
import { copyFileSync, existsSync, renameSync, truncateSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import type { Diagnosis } from "../../lib/doctor/doctor.js";
import { main, onehour } from "../cli/command.js";
import { temporaryFolder } from "../support/folder.js";
import { type Ended, start, torchrun } from "../support/process.js";

const folder = temporaryFolder();

function read({ status, stdout, stderr }: Ended): Diagnosis {
  const diagnosis = JSON.parse(stdout) as Diagnosis;
  expect(status, stderr).toBe(diagnosis.canRun ? 0 : 1);
  for (const { name, verdict, advice } of diagnosis.checks)
    if (verdict !== "good") expect(advice, name).toMatch(/\S/);
  return diagnosis;
}

const doctor = async (env: Record<string, string | undefined> = {}) =>
  read(await onehour(["doctor", "--json"], { cwd: folder, env }));

const under = async (...command: string[]) =>
  read(
    await start([...command, process.execPath, main, "doctor", "--json"], { cwd: folder }).ended,
  );

const find = ({ checks }: Diagnosis, name: string) => checks.find((line) => line.name === name)!;

test("measures this machine, which can run", async () => {
  const diagnosis = await doctor();
  expect(diagnosis.canRun).toBe(true);
  for (const name of ["all-reduce", "decoding", "matrix products"])
    expect(find(diagnosis, name), name).toMatchObject({ verdict: "good" });
  expect(diagnosis.environment.libraries.oneDNN?.built).toMatch(/^\d/);
});

test("no tools on PATH: what is built runs", async () => {
  const diagnosis = await doctor({ PATH: "" });
  expect(find(diagnosis, "CMake").verdict).toBe("warning");
  expect(diagnosis.canRun).toBe(true);
});

test("without shared memory the ranks' sums go through sockets", async () => {
  const line = find(await doctor({ ONEHOUR_SHM_DISABLE: "1" }), "all-reduce");
  expect(line).toMatchObject({ verdict: "warning", advice: "unset ONEHOUR_SHM_DISABLE" });
});

test("variables of launchers: read where they make sense, refused where not", async () => {
  const read = await doctor(torchrun(1, 29_500));
  expect(find(read, "launcher").found).toContain("rank 1 of 2 by torchrun");
  const half = await doctor({ WORLD_SIZE: "2" });
  expect(half.canRun).toBe(false);
  expect(find(half, "launcher").advice).toBe("unset WORLD_SIZE");
});

test("one core of several, and few open files", async () => {
  const bound = await under("taskset", "-c", "0");
  if (bound.environment.cores.present > 1)
    expect(find(bound, "cores")).toMatchObject({ verdict: "warning" });
  const few = await under("prlimit", "--nofile=256:256");
  expect(find(few, "open files")).toMatchObject({ verdict: "warning" });
});

test("a module cut short is named, whatever it does to the process that loads it", async () => {
  const module = fileURLToPath(new URL("../../build/Release/onehour_data.node", import.meta.url));
  const kept = `${module}.kept`;
  expect(existsSync(kept)).toBe(false);
  renameSync(module, kept);
  try {
    for (const bytes of [0, 4096]) {
      copyFileSync(kept, module);
      truncateSync(module, bytes);
      const diagnosis = await doctor();
      expect(find(diagnosis, "module data").verdict, String(bytes)).toBe("warning");
      expect(diagnosis.canRun).toBe(true);
    }
  } finally {
    renameSync(kept, module);
  }
});

test("a launch compares its ranks and measures their pair", async () => {
  const { status, stdout } = await onehour(["launch", "--workers", "2", "--doctor"]);
  expect(stdout).toMatch(/good +versions +alike on 1 host/);
  expect(stdout).toMatch(/ranks 0, 1 .*\/s/);
  expect(status).toBe(0);
});
