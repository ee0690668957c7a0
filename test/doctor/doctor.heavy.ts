// The doctor as a user runs it, on machines that lack something: a line says what, with a command, and the exit status
// whether a run can start.
import { execFileSync } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import type { Diagnosis } from "../../lib/doctor/check.js";
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

/** Compiles a library that runs `body` when it is loaded. */
function compile(file: string, body: string, ...options: string[]): void {
  const text = `#include <cstdlib>\n#include <unistd.h>\n__attribute__((constructor)) static void run() { ${body} }\n`;
  const words = ["-shared", "-fPIC", "-o", file, "-x", "c++", "-", "-x", "none", ...options];
  execFileSync(process.env.CXX || "c++", words, { input: text });
}

const cut = (bytes: number) => (module: string, whole: string) => {
  copyFileSync(whole, module);
  truncateSync(module, bytes);
};

/** Puts a module in the place of the one that was built, and what is said of it. */
const broken: [string, (module: string, whole: string) => void, RegExp][] = [
  ["is empty", cut(0), /file too short/],
  ["is cut short", cut(4096), /./], // at the latest its process is killed
  ["aborts", (module) => compile(module, "abort();"), /is killed by SIGABRT: it breaks/],
  [
    "hangs",
    (module) => compile(module, "for (;;) pause();"),
    /does not end within 30 s: it breaks/,
  ],
  [
    "needs a library that is gone",
    (module) => {
      const library = join(folder, "libonehour-gone.so");
      compile(library, "");
      // Otherwise the linker leaves out what nothing is used of.
      compile(module, "", "-Wl,--no-as-needed", library);
      rmSync(library);
    },
    /libonehour-gone\.so that it needs is not here/,
  ],
];

test.each(broken)("a module that %s is named, and breaks nothing else", async (_, make, words) => {
  const module = fileURLToPath(new URL("../../build/Release/onehour_data.node", import.meta.url));
  const kept = `${module}.kept`;
  expect(existsSync(kept)).toBe(false);
  renameSync(module, kept);
  try {
    make(module, kept);
    const diagnosis = await doctor();
    const line = find(diagnosis, "module data");
    expect(line.verdict).toBe("warning");
    expect(line.found).toMatch(words);
    expect(find(diagnosis, "module cpu").verdict).toBe("good");
    expect(diagnosis.canRun).toBe(true);
  } finally {
    renameSync(kept, module);
  }
});

test("a tool of the driver that hangs holds nothing up", async () => {
  const bin = join(folder, "bin");
  mkdirSync(bin);
  const text = "#!/bin/sh\ntrap '' TERM\nexec sleep 1000\n";
  writeFileSync(join(bin, "nvidia-smi"), text, { mode: 0o755 });
  const env = { PATH: `${bin}${delimiter}${process.env.PATH}` };
  const ended = await onehour(["doctor", "--json"], { cwd: folder, env });
  expect(read(ended).canRun).toBe(true);
  expect(ended.seconds).toBeLessThan(200); // only what hangs takes so long
});

/** Runs a shell's script that may mount what its processes alone see. */
const mounting = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec"];

test("a /dev/shm of 64 KiB is not what the ranks of a CPU share", async () => {
  const script = 'mount -t tmpfs -o size=64k tmpfs /dev/shm && exec "$@"';
  const diagnosis = await under(...mounting, script, "sh");
  expect(find(diagnosis, "/dev/shm").found).toMatch(/ of 65\.5 kB/);
  expect(find(diagnosis, "all-reduce")).toMatchObject({ verdict: "good" });
  expect(find(diagnosis, "all-reduce").found).toContain("shared memory");
});

test("a folder that is mounted to be read: no run can start in it", async () => {
  const script = 'mount -t tmpfs -o ro tmpfs "$PWD" && cd "$PWD" && exec "$@"';
  const diagnosis = await under(...mounting, script, "sh");
  expect(find(diagnosis, "run folder").found).toContain("EROFS");
  expect(diagnosis.canRun).toBe(false);
});

test("without loopback it is said what two ranks lack, and not waited for them", async () => {
  const diagnosis = await under("unshare", "--user", "--map-root-user", "--net");
  for (const name of ["interface", "all-reduce"])
    expect(find(diagnosis, name), name).toMatchObject({
      ...{ verdict: "warning", advice: "ip link set lo up" },
      found: expect.stringContaining("by which the workers of this host meet"),
    });
});

test.each([20, 22, 24, 28])("with %d files open at most it ends in a plain line", async (most) => {
  const command = ["prlimit", `--nofile=${most}:${most}`, process.execPath, main, "doctor"];
  const { status, stderr } = await start(command, { cwd: folder }).ended;
  expect(stderr).toMatch(/^onehour: too many files are open[^\n]*: ulimit -n 1024\n$/);
  expect(status).toBe(1);
});

test("a report that finds no room is lost, and said to be", async () => {
  const full = openSync("/dev/full", "w");
  const ended = await onehour(["doctor"], { cwd: folder, stdout: full });
  expect(ended.status).toBe(1);
  expect(ended.stderr).toMatch(/the result is lost: .*ENOSPC/);
});

test("a launch compares its ranks and measures their pair", async () => {
  const { status, stdout } = await onehour(["launch", "--workers", "2", "--doctor"]);
  expect(stdout).toMatch(/good +versions +alike on 1 host/);
  expect(stdout).toMatch(/ranks 0, 1 .*\/s/);
  expect(status).toBe(0);
});
