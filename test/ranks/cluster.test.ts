// Reads which part this process has in a run: the workers of a node, and the secret that admits it.
import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { readPart } from "../../lib/ranks/cluster.js";
import { temporaryFolder } from "../support/folder.js";
import { launcherFree } from "../support/process.js";

const folder = temporaryFolder();
const two = { nodes: 2, nodeRank: 1, rendezvous: "node0:29500" };
const own = () => 3;

let before: NodeJS.ProcessEnv;
beforeEach(() => {
  before = process.env;
  process.env = launcherFree();
});
afterEach(() => {
  process.env = before;
  vi.restoreAllMocks();
});

describe("the workers of a node", () => {
  test.each<[string, number | undefined, number | undefined, number]>([
    ["are as many as it has GPUs", undefined, undefined, 3],
    ["are a part of all", 4, undefined, 2],
    ["are those of each", undefined, 5, 5],
    ["may be said both ways", 4, 2, 2],
  ])("%s", (_, workers, workersPerNode, each) => {
    const given = workersPerNode === undefined ? two : { ...two, workersPerNode };
    const part = readPart(given, { workers, own });
    expect(part.cluster).toMatchObject({ nodes: 2, nodeRank: 1, workersPerNode: each });
    expect(part.workers).toBe(2 * each);
  });

  test("are left to the recipe on one machine", () => {
    expect(readPart({}, { own }).workers).toBeUndefined();
    expect(readPart({ workersPerNode: 2, nodes: 1 }, { own }).workers).toBe(2);
  });
});

describe("the secret of nodes", () => {
  let files = 0;
  const file = (text: string, mode = 0o600) => {
    const path = join(folder, `token-${files++}`);
    writeFileSync(path, text);
    chmodSync(path, mode);
    return path;
  };
  const secretOf = (tokenFile?: string) =>
    readPart(tokenFile === undefined ? two : { ...two, tokenFile }, { own }).cluster!;

  test("is the text of the file, which comes before ONEHOUR_TOKEN", () => {
    process.env.ONEHOUR_TOKEN = "of the environment";
    const warn = vi.spyOn(process, "emitWarning").mockReturnValue();
    const given = secretOf(file("of the file\n"));
    expect(given).toMatchObject({ token: "of the file", isPublic: false });
    expect(secretOf()).toMatchObject({ token: "of the environment", isPublic: false });
    expect(warn).not.toHaveBeenCalled();
  });

  test("is the run's public name without either, the same on all nodes", () => {
    const [a, b] = [secretOf(), readPart({ ...two, nodeRank: 0 }, { own }).cluster!];
    expect(a).toMatchObject({ isPublic: true, token: b.token });
    const other = readPart({ ...two, rendezvous: "node0:29501" }, { own }).cluster!;
    expect(other.token).not.toBe(a.token);
  });

  test("that others can read is warned of", () => {
    const warn = vi.spyOn(process, "emitWarning").mockReturnValue();
    secretOf(file("secret", 0o644));
    expect(warn.mock.calls[0]![0]).toMatch(/can be read by other users.*chmod 600/);
  });

  test.each([
    ["an empty file", () => file(" \n"), /is empty/],
    ["a folder", () => folder, /it is a folder, not a file/],
  ])("is not %s", (_, path, says) => {
    expect(() => secretOf(path())).toThrow(says);
  });
});
