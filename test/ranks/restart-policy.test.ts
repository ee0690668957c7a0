// Decides on restarts, on a clock of numbers.
import { describe, expect, test } from "vitest";
import { chooseNodes, RestartPolicy } from "../../lib/ranks/restart-policy.js";

const killed = { cause: "rank 1: was killed (SIGKILL)" };
const lost = { cause: "node 1 is lost", code: "ERR_ONEHOUR_NODE_LOST" };

/** A step that fails of an error of the program, on some rank. */
const broken = (steps: number, rank = 0) => ({
  ...{ cause: `rank ${rank}: Error: odd image`, error: "Error: odd image", steps },
});

describe("RestartPolicy", () => {
  test("restarts no run unless it is asked to, and says nothing of it", () => {
    expect(new RestartPolicy(0).decide(killed, 0)).toEqual({ again: false });
  });

  test("restarts at most R times within an hour, and counts all", () => {
    const policy = new RestartPolicy(2);
    expect(policy.decide(killed, 0)).toEqual({ again: true, count: 1 });
    expect(policy.decide(lost, 10)).toEqual({ again: true, count: 2 });
    const why = "the run was restarted 2 times within an hour";
    expect(policy.decide(killed, 3599)).toEqual({ again: false, why });
    expect(policy.decide(killed, 3601)).toEqual({ again: true, count: 3 });
  });

  test.each(["ERR_ONEHOUR_RECIPE", "ERR_ONEHOUR_DATA", "ERR_ONEHOUR_RUN_FOLDER"])(
    "%s is never restarted",
    (code) => {
      const decision = new RestartPolicy(9).decide({ ...killed, code }, 0);
      expect(decision).toEqual({ again: false, why: "another start would not change that" });
    },
  );

  test("the same error at the same step twice in a row, on whichever rank, is no machine's fault", () => {
    const policy = new RestartPolicy(9);
    expect(policy.decide(broken(100), 0)).toMatchObject({ again: true });
    expect(policy.decide(broken(101, 1), 1)).toMatchObject({
      again: false,
      why: expect.stringContaining("no machine is to blame"),
    });
  });

  test.each([
    ["at another step", [broken(100), broken(200)]],
    ["after another failure", [broken(100), killed, broken(100)]],
    ["of nodes that are lost again and again", [lost, lost, lost]],
    ["where nobody knows the step", [broken(100), { ...broken(0), steps: undefined }]],
  ])("failures %s are restarted", (_, failures) => {
    const policy = new RestartPolicy(9);
    for (const failure of failures)
      expect(policy.decide(failure, 0)).toMatchObject({ again: true });
  });
});

describe("chooseNodes", () => {
  /** Workers that 12 micro-batches of a step can be shared among. */
  const divides = (workers: number) => 12 % workers === 0;

  test.each<[string, number[], number, number, number[] | undefined]>([
    ["all", [0, 1, 2], 1, 2, [0, 1, 2]],
    ["the largest number that divides", [0, 1, 3, 4, 5], 1, 1, [0, 1, 3, 4]],
    ["in their order", [5, 0, 3], 1, 2, [0, 3, 5]],
    ["none where too few are left", [0, 1], 3, 1, undefined],
    ["none where no number from M on divides", [0, 1, 2, 3, 4], 5, 1, undefined],
    ["node 0 alone", [0, 7], 1, 12, [0]],
  ])("takes %s", (_, here, least, workersPerNode, chosen) => {
    expect(chooseNodes(here, least, workersPerNode, divides)).toEqual(chosen);
  });
});
