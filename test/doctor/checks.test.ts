// What the doctor makes of what it finds: the verdict of each kind of machine, and a command with each that is not
// good.
import { expect, test } from "vitest";
import type { Line, ModuleReport } from "../../lib/doctor/check.js";
import { compareVersions, judgePairs } from "../../lib/doctor/compare.js";
import { examine } from "../../lib/doctor/doctor.js";
import {
  judgeGpu,
  judgePeers,
  mergeGpus,
  readGpus,
  readHolders,
  readUnreachable,
} from "../../lib/doctor/gpus.js";
import { judgeLauncher, judgeSettings } from "../../lib/doctor/launcher.js";
import {
  judgeCores,
  judgeFiles,
  judgeFolder,
  judgeMemory,
  judgeShared,
} from "../../lib/doctor/machine.js";
import { judgeLibrary, judgeModule, serves } from "../../lib/doctor/modules.js";
import { judgeName } from "../../lib/doctor/network.js";
import { pairsOf } from "../../lib/doctor/pairs.js";
import { lineText, summaryText } from "../../lib/doctor/print.js";
import { isAtLeast, judgeNode, versionIn } from "../../lib/doctor/tools.js";
import { flux, hydra, master, openmpi, srun, torchrun } from "../ranks/engine-variables.js";

const verdictsOf = (...lines: Line[]) => {
  for (const line of lines) if (line.verdict !== "good") expect(line.advice).toMatch(/\S/);
  return lines.map(({ verdict }) => verdict);
};

test("asks for Node 20.19 or later", () => {
  const versions = ["v20.18.3", "v20.19.0", "v22.1.0", "v18.20.0"];
  expect(verdictsOf(...versions.map(judgeNode))).toEqual(["bad", "good", "good", "bad"]);
  expect(isAtLeast("3.9.6", [3, 25])).toBe(false);
  expect(versionIn("g++ (Debian 12.2.0-14+deb12u1) 12.2.0")).toBe("12.2.0");
});

test("a library serves that is not older and has the same major version", () => {
  expect(serves("2.6.3", "2.6.3")).toBe(true);
  expect(serves("2.6.3", "2.10.0")).toBe(true);
  expect(serves("2.6.3", "2.6.2")).toBe(false);
  expect(serves("2.6.3", "3.7.0")).toBe(false);
  expect(serves("0.5.0", "libgloo.so.0.5.0")).toBe(true);
  const old = judgeLibrary("cuDNN", { built: "9.24.0", loaded: "9.8.0" });
  const one = judgeLibrary("CUDA of the driver", { loaded: "13.0" });
  expect(verdictsOf(old, one)).toEqual(["warning", "good"]);
});

test("a module counts by what a run would do with it", () => {
  const module = (name: ModuleReport["name"], rest: object = {}): ModuleReport => ({
    ...{ name, state: "loads", libraries: {}, gpus: [], ...rest },
  });
  const gpu = { ordinal: 0, name: "H200", kind: "cuda", capability: "9.0", memoryBytes: 1 };
  const withGpu = module("cuda", { gpus: [{ ...gpu, bus: "", problem: "" }] });
  const broken = { state: "broken", problem: "is damaged" };
  const missing = { state: "not built" };
  const judge = (one: ModuleReport, others: ModuleReport[] = [], hasGpu = false) =>
    verdictsOf(judgeModule(one, [one, ...others], hasGpu))[0];
  expect(judge(module("cpu"))).toBe("good");
  expect(judge(module("cpu", broken))).toBe("bad");
  expect(judge(module("cpu", missing))).toBe("bad");
  expect(judge(module("cpu", broken), [withGpu])).toBe("warning");
  expect(judge(module("cuda", missing))).toBe("good");
  expect(judge(module("cuda", missing), [], true)).toBe("warning");
  expect(judge(module("cuda", broken))).toBe("warning");
  // A run asks it for GPUs, and would end with it.
  expect(judge(module("cuda", { ...broken, isFatal: true }))).toBe("bad");
  expect(judge(module("data", { ...broken, isFatal: true }))).toBe("warning");
});

test("cores: all, some, and one of several", () => {
  const bounds = (present: number, allowed: number, quota = Number.POSITIVE_INFINITY) =>
    judgeCores({ present, allowed, quota });
  expect(verdictsOf(bounds(1, 1), bounds(8, 4), bounds(8, 1), bounds(8, 8, 1.5))).toEqual([
    ...["good", "good", "warning", "warning"],
  ]);
  expect(bounds(8, 1).advice).toBe("taskset -cp 0-7 $$");
  expect(bounds(8, 8, 1.5).found).toContain("quota is 1.5");
});

test("memory, /dev/shm, open files and the run folder", () => {
  expect(judgeMemory(8e9, 8e9, 4e9).found).toBe("4.0 GB free of 8.0 GB");
  expect(verdictsOf(judgeMemory(8e9, 8e9, 4e9), judgeMemory(8e9, 5e8, 4e9))).toEqual([
    ...["good", "warning"],
  ]);
  // Docker's 64 MB stop NCCL between GPUs, and nothing on a CPU.
  expect(verdictsOf(judgeShared(64e6, 64e6, 0), judgeShared(64e6, 64e6, 2))).toEqual([
    ...["good", "warning"],
  ]);
  expect(verdictsOf(judgeShared(undefined, 0, 8), judgeShared(8e9, 8e9, 8))).toEqual([
    ...["warning", "good"],
  ]);
  expect(verdictsOf(judgeFiles(1024), judgeFiles(256), judgeFiles(20))).toEqual([
    ...["good", "warning", "bad"],
  ]);
  const folder = (rest: object, locks?: boolean) =>
    judgeFolder({ folder: "/data", free: 1e12, ...rest }, locks);
  expect(
    verdictsOf(
      ...[folder({}, true), folder({}), folder({}, false)],
      ...[folder({ free: 1e6 }), folder({ problem: "EROFS" })],
    ),
  ).toEqual(["good", "good", "warning", "warning", "bad"]);
  const problems = ["EACCES", "ENOSPC", "EROFS", "Error: odd"];
  expect(problems.map((problem) => folder({ problem }).advice)).toEqual([
    ...["ls -ld /data", "df -h", "findmnt --target /data", "findmnt --target /data"],
  ]);
});

test("the host's own name: its address, loopback, another host's, or none", () => {
  const judge = (addresses?: string[]) => judgeName("n1", addresses, ["10.0.0.1", "127.0.0.1"]);
  const lines = [["10.0.0.1"], ["127.0.1.1"], ["10.0.0.9"], undefined].map(judge);
  expect(verdictsOf(...lines)).toEqual(["good", "good", "warning", "warning"]);
  expect(lines[1]!.found).toContain("loopback");
});

test("variables of launchers: how they are read, and what contradicts", () => {
  expect(judgeLauncher({ PATH: "/bin" }).found).toContain("a run of its own");
  const pair = { RANK: "1", WORLD_SIZE: "2", LOCAL_RANK: "1", LOCAL_WORLD_SIZE: "2" };
  const meets = { ...pair, MASTER_ADDR: "n1", MASTER_PORT: "29500" };
  const read = judgeLauncher(meets);
  expect(verdictsOf(read)).toEqual(["good"]);
  expect(read.found).toContain("rank 1 of 2 by torchrun, meeting at n1:29500");
  const half = judgeLauncher({ WORLD_SIZE: "2" });
  expect(verdictsOf(half)).toEqual(["bad"]);
  expect(half.advice).toBe("unset WORLD_SIZE");
  const wrong = judgeLauncher({ ...meets, RANK: "2" });
  expect(verdictsOf(wrong)).toEqual(["bad"]);
  expect(wrong.advice).toBe("unset RANK WORLD_SIZE");
});

test.each([
  ["Slurm", srun],
  ["torchrun", torchrun],
  ["Open MPI", { ...openmpi, ...master }],
  ["mpiexec (Hydra)", { ...hydra, ...master }],
  ["Flux", { ...flux, ...master }],
])("the variables of %s: a rank of four", (engine, env) => {
  const line = judgeLauncher(env);
  expect(line, line.found).toMatchObject({ name: "launcher", verdict: "good" });
  expect(line.found).toContain(`rank 3 of 4 by ${engine}, meeting at n1:`);
});

test("settings of this package, whose secret is not shown", () => {
  expect(judgeSettings({}).verdict).toBe("good");
  const fine = judgeSettings({ ONEHOUR_THREADS: "2", ONEHOUR_TOKEN: "hush" });
  expect(fine.verdict).toBe("good");
  expect(fine.found).not.toContain("hush");
  const wrong = judgeSettings({ ONEHOUR_THREADS: "many" });
  expect(verdictsOf(wrong)).toEqual(["bad"]);
  expect(wrong.advice).toBe("unset ONEHOUR_THREADS");
  for (const [name, value] of [
    ["ONEHOUR_THREADS", "100000"],
    ["ONEHOUR_LOCAL_WORLD_SIZE", "0"],
    ["ONEHOUR_START_TIMEOUT", "soon"],
    ["ONEHOUR_GPU", "-1"],
  ] as const) {
    const line = judgeSettings({ ONEHOUR_TIMEOUT: "5", ONEHOUR_THREADS: "1", [name]: value });
    expect(line, name).toMatchObject({ verdict: "bad", advice: `unset ${name}` });
  }
});

test("reads what NVIDIA's tool prints of GPUs, their holders and peers", () => {
  const text =
    "0, NVIDIA H200, 00000000:1B:00.0, 143771, 4\n1, NVIDIA H200, 00000000:43:00.0, 143771, 90000\n";
  const seen = readGpus(text);
  expect(seen.map(({ bus }) => bus)).toEqual(["0000:1b:00.0", "0000:43:00.0"]);
  const holders = readHolders("00000000:43:00.0, 4711, 89000, python\n");
  const gpus = mergeGpus([], seen, holders);
  const lines = gpus.map((gpu) => judgeGpu(gpu, [0]));
  expect(verdictsOf(...lines)).toEqual(["good", "warning"]);
  expect(lines[1]!.found).toContain("process 4711 (python) holds 93.3 GB");
  expect(lines[1]!.advice).toBe("export CUDA_VISIBLE_DEVICES=0");
  const [blank, head] = ["", " \tGPU0\tGPU1\t"];
  const peers = (cell: string) =>
    [head, ` GPU0\tX\t${cell}\t`, ` GPU1\t${cell}\tX\t`, blank].join("\n");
  expect(readUnreachable(peers("OK"))).toEqual([]);
  expect(readUnreachable(peers("NS"))).toEqual([[0, 1]]);
  expect(verdictsOf(judgePeers([], 2), judgePeers([[0, 1]], 2))).toEqual(["good", "warning"]);
});

test("compares hosts, and pairs of ranks of a kind", () => {
  const environment = {
    ...{ onehour: "0.1.0", node: "v20.20.2", kernel: "Linux", memoryBytes: 1, gpus: [] },
    ...{ cores: { usable: 1, present: 1 }, libraries: { oneDNN: { loaded: "2.6.3" } } },
  };
  const member = (host: string, rest: object = {}) => ({
    ...{ host, diagnosis: { checks: [], environment: { ...environment, ...rest } } },
  });
  expect(verdictsOf(...compareVersions([member("a"), member("b")]))).toEqual(["good"]);
  // Of a host its first rank speaks alone.
  const [alone] = compareVersions([member("a"), { host: "a" }]);
  expect(alone!.found).toContain("alike on 1 host");
  const [other] = compareVersions([member("a"), member("b"), member("c", { node: "v22.1.0" })]);
  expect(other).toMatchObject({ name: "Node", verdict: "warning" });
  expect(other!.found).toBe("differs: v20.20.2 on a and b, v22.1.0 on c");
  expect(other!.advice).toBe("npx --yes n 20.20.2");
  const packages = compareVersions([member("a"), member("b", { onehour: "0.2.0" })]);
  expect(packages.map(({ advice }) => advice)).toEqual(["npm install onehour@0.1.0"]);
  const commits = compareVersions([member("a", { commit: "1f2defc0" }), member("b")]);
  expect(commits.map(({ found }) => found)).toEqual(["differs: 0.1.0 (1f2defc) on a, 0.1.0 on b"]);
  expect(commits[0]!.advice).toBe("git checkout 1f2defc && scripts/setup");
  expect(pairsOf(3)).toEqual([
    [0, 1],
    [0, 2],
    [1, 2],
  ]);
  const rate = (first: number, second: number, bandwidth: number, transport = "TCP to n1:1") => ({
    ...{ ranks: [first, second] as [number, number], bandwidth, latency: 1e-4 },
    transport,
  });
  const rates = [rate(0, 1, 1e9), rate(0, 2, 1e8), rate(1, 2, 9e8)];
  const judged = judgePairs(rates, ["a", "b", "c"]);
  expect(verdictsOf(...judged)).toEqual(["good", "warning", "good"]);
  expect(judged[1]!.found).toContain("ONEHOUR_INTERFACE");
  const memory = "shared memory";
  const here = [rate(0, 1, 1e9, memory), rate(0, 2, 1e8, memory), rate(1, 2, 1e9, "Unix socket")];
  const found = judgePairs(here, ["a", "a", "a"]);
  expect(verdictsOf(...found)).toEqual(["good", "warning", "warning"]);
  expect(found[1]!.found).toContain("does something else take the cores?");
  expect(found[2]!.found).toContain("on one host memory is faster");
});

test("a check that throws, or does not end, becomes a line", async () => {
  const facts = { hasGpu: false, modules: async () => [] };
  const base = { name: "x", seconds: 0.05, advice: "y" };
  const throws = () => {
    throw new Error("no such thing");
  };
  const lines = [
    ...(await examine({ ...base, look: throws }, facts, 1)),
    ...(await examine({ ...base, look: () => new Promise<Line[]>(() => {}) }, facts, 1)),
    ...(await examine({ ...base, look: () => [] }, facts, 0)),
  ];
  expect(verdictsOf(...lines)).toEqual(["warning", "warning", "warning"]);
  expect(lines[0]!.found).toContain("no such thing");
});

test("wraps words with a hanging indent, and never a command", () => {
  const found = "this is a text of some length that does not fit one line";
  const advice = `unset ${"A".repeat(60)}`;
  const paper = { columns: 60, color: (_: string, text: string) => text };
  const text = lineText({ name: "x", found, verdict: "warning", advice }, paper);
  const lines = text.trimEnd().split("\n");
  expect(lines.at(-1)!.trim()).toBe(`$ ${advice}`);
  for (const line of lines.slice(0, -1)) expect(line.length).toBeLessThanOrEqual(60);
  expect(lines[1]).toMatch(/^ {25}\S/);
  expect(text).not.toContain("\x1b");
  expect(summaryText([{ name: "x", found, verdict: "bad", advice }], paper)).toContain(
    "cannot start: 0 good, 0 warnings, 1 bad",
  );
});
