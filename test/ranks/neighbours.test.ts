// What ranks of a machine learn of one another when they meet: places, shares of the cores, and the flag
// of the engine that would give them more.
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import {
  countedPlace,
  type Neighbour,
  ownDescription,
  remarkOnCores,
  sharesOfCores,
  wholeCores,
} from "../../lib/ranks/neighbours.js";

const one: Neighbour = {
  ...{ machine: "m1 ", host: "m1 net ", name: "n1", localRank: 0 },
  ...{ processors: "0-15", cpus: 16, limits: [] },
};
const second = { machine: "m2 ", host: "m2 net " };
/** Ranks that differ from `one` in these. */
const ranks = (...differences: Partial<Neighbour>[]) =>
  differences.map((difference) => ({ ...one, ...difference }));

describe("local ranks are counted where the engine does not give their number", () => {
  const places = (all: Neighbour[]) =>
    all.map((_, rank) => Object.values(countedPlace(all, rank)).join("/"));

  test("as the ranks of one machine", () => {
    const all = ranks({}, { localRank: 1 }, second, { localRank: 2 });
    expect(places(all)).toEqual(["0/3", "1/3", "0/1", "2/3"]);
  });

  test("by their order where they were told nothing", () => {
    expect(places(ranks({}, {}, second, {}))).toEqual(["0/3", "1/3", "0/1", "2/3"]);
  });

  test("within a container", () => {
    expect(places(ranks({}, { name: "pod-1" }, { name: "pod-1" }))).toEqual(["0/1", "0/2", "1/2"]);
  });

  test("as the engine named them", () => {
    expect(places(ranks({ localRank: 1 }, { localRank: 0 }))).toEqual(["1/2", "0/2"]);
  });
});

describe("cores are divided among the ranks that share them:", () => {
  test.each<[string, Neighbour[], number[]]>([
    ["all of them", ranks({}, {}, {}, {}), [4, 4, 4, 4]],
    [
      "none, where the engine bound each rank",
      ranks({ processors: "0-7" }, { processors: "8-15" }),
      [8, 8],
    ],
    [
      "by sockets",
      ranks({ processors: "0-7" }, { processors: "0-7" }, { processors: "8-15" }),
      [4, 4, 8],
    ],
    ["some of them", ranks({ processors: "0-7" }, { processors: "4-15" }), [6, 10]],
    ["threads of a core", ranks({ processors: "0-3,8-11" }, { processors: "4-7,12-15" }), [8, 8]],
    ["not with another machine's", ranks({}, second), [16, 16]],
    [
      "a quota of all",
      ranks({ limits: [{ group: "1:7", cores: 6 }] }, { limits: [{ group: "1:7", cores: 6 }] }),
      [3, 3],
    ],
    [
      "a quota each, as of containers",
      ranks({ limits: [{ group: "1:7", cores: 6 }] }, { limits: [{ group: "1:8", cores: 2 }] }),
      [6, 2],
    ],
    [
      "a quota of another machine's",
      ranks(
        { limits: [{ group: "1:7", cores: 6 }] },
        { ...second, limits: [{ group: "1:7", cores: 6 }] },
      ),
      [6, 6],
    ],
    ["less than one a rank", ranks({ processors: "0" }, { processors: "0" }), [1, 1]],
    ["three of sixteen", ranks({}, {}, {}), [5, 5, 5]],
  ])("%s", (_, all, expected) => {
    expect(sharesOfCores(all).map(wholeCores)).toEqual(expected);
  });
});

describe("a worker with one core is told the flag that gives it more:", () => {
  const bound = ranks({ processors: "0" }, { processors: "1" });
  test.each<[string, Record<string, string>, RegExp]>([
    [
      "srun's",
      { SLURM_STEP_ID: "0", SLURM_PROCID: "0", SLURM_JOB_ID: "7" },
      /1 core, .* has 16 for 2 workers.* srun --cpus-per-task=8$/,
    ],
    ["mpirun's", { OMPI_COMM_WORLD_RANK: "0" }, /mpirun --bind-to none$/],
    [
      "mpirun's in a job of Slurm's",
      { OMPI_COMM_WORLD_RANK: "0", SLURM_JOB_ID: "7" },
      /mpirun --bind-to none$/,
    ],
    ["mpiexec's", { PMI_RANK: "0", PMI_SIZE: "2", MPI_LOCALRANKID: "0" }, /mpiexec -bind-to none/],
    ["PALS'", { PMI_RANK: "0", PMI_SIZE: "2", PALS_RANKID: "0" }, /mpiexec --cpu-bind none$/],
    ["Flux'", { FLUX_TASK_RANK: "0" }, /flux run --cores-per-task=8$/],
    [
      "Slurm's for the workers that this machine's launcher starts",
      { ONEHOUR_RANK: "0", SLURM_JOB_ID: "7" },
      /sbatch or srun --cpus-per-task=8$/,
    ],
    [
      "workers of a command that mpirun started once a node",
      { ONEHOUR_RANK: "0", OMPI_COMM_WORLD_RANK: "0" },
      /mpirun --bind-to none$/,
    ],
    [
      "Kubernetes' limits",
      { RANK: "0", WORLD_SIZE: "2", KUBERNETES_SERVICE_HOST: "10.0.0.1" },
      /resources\.limits\.cpu .* up to 8/,
    ],
  ])("%s", (_, env, expected) => {
    expect(remarkOnCores(bound, env)).toMatch(expected);
  });

  test("a container's quota", () => {
    const all = ranks({ limits: [{ group: "1:7", cores: 1 }] });
    expect(remarkOnCores(all, {})).toBeUndefined();
    expect(remarkOnCores(all, { OMPI_COMM_WORLD_RANK: "0" })).toMatch(
      /the quota of its control group .*docker run --cpus/,
    );
  });

  test("but not where it has more, or the machine has none to spare, or nobody bound it", () => {
    const env = { OMPI_COMM_WORLD_RANK: "0" };
    expect(remarkOnCores(ranks({ processors: "0-1" }, { processors: "2-3" }), env)).toBeUndefined();
    expect(remarkOnCores(ranks({ cpus: 1, processors: "0" }), env)).toBeUndefined();
    expect(remarkOnCores(ranks(...Array(16).fill({})), env)).toBeUndefined();
    expect(remarkOnCores(bound, {})).toBeUndefined();
  });
});

test("a process describes itself", () => {
  const { processors, cpus, limits } = ownDescription(3);
  expect(readFileSync("/proc/self/status", "utf8")).toContain(
    `Cpus_allowed_list:\t${processors}\n`,
  );
  expect(cpus).toBeGreaterThan(0);
  for (const { group, cores } of limits) {
    expect(group).toMatch(/^\d+:\d+$/);
    expect(cores).toBeGreaterThan(0);
  }
});
