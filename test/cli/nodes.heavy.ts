// What happens to runs over several "machines", each a command of its own on this one, and what each says at the
// end.
import { existsSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { logOf, temporaryFolder } from "../support/folder.js";
import { childrenOf, freePort, isAlive, lastLine, type Run, until } from "../support/process.js";
import { onNodes, startNodes, stepped, tiny } from "./nodes.js";

const folder = temporaryFolder();

test("node 0 moves to a machine without the run, which it gets from the other", async () => {
  const [a, b] = [join(folder, "moves-a"), join(folder, "moves-b")];
  const train = async (outs: readonly string[], steps: number, ...more: string[]) => {
    const words = [...tiny(1), "--steps", `${steps}`, ...more];
    const runs = await startNodes(words, {
      flags: (node) => ["--workers-per-node", "1", "--out", outs[node]!],
    });
    return await Promise.all(runs.map((run) => run.ended));
  };
  const auto = ["--resume", "auto"];
  for (const { status, stderr } of await train([a, b], 3, ...auto))
    expect([status, stderr]).toEqual([0, ""]);
  expect(existsSync(b)).toBe(false);
  const moved = await train([b, a], 6, "--resume");
  for (const { status, stderr } of moved) expect([status, stderr]).toEqual([0, ""]);
  expect(moved[0]!.stdout).toMatch(/^the run's newest checkpoint, after 3 steps, lies in .*-a on/m);
  expect(moved[0]!.stdout).toMatch(`continuing ${b} after 3 steps`);
  const steps = (out: string) => logOf(out).filter(({ type }) => type === "step").length;
  expect([a, b].map(steps)).toEqual([3, 6]);

  // Nothing begins where another node holds a run.
  const new0 = join(folder, "moves-new");
  for (const { status, stderr } of await train([new0, a], 3)) {
    expect(lastLine(stderr)).toMatch(/: .*moves-a on .* holds a run already \(recipe\.json\)/);
    expect(status).toBe(1);
  }
  expect(existsSync(new0)).toBe(false);
});

interface Misfortune {
  /** What happens to the nodes, or their workers. */
  strike: (runs: readonly Run[], workers: readonly number[][]) => void;
  /** The last line of each node that is left. */
  says: readonly (RegExp | undefined)[];
}

const worker = /^onehour: rank 1 on .+: was killed \(SIGKILL\)/;

describe("a run of two nodes", () => {
  test.each<[string, Misfortune]>([
    [
      "ends everywhere when a worker is killed",
      {
        strike: (_, workers) => process.kill(workers[1]![0]!, "SIGKILL"),
        says: [worker, worker],
      },
    ],
    [
      "names node 1 when its supervisor is killed",
      {
        strike: ([, second]) => second!.child.kill("SIGKILL"),
        says: [
          /^onehour: node 1 \(host .+, rank 1\) is lost: its supervisor ended without a word\. Was it killed\?$/,
          undefined,
        ],
      },
    ],
    [
      "names node 0 when its supervisor is killed",
      {
        strike: ([first]) => first!.child.kill("SIGKILL"),
        says: [
          undefined,
          /^onehour: node 0 \(host .+, rank 0\) is lost: its supervisor ended without a word\. Was it killed\?$/,
        ],
      },
    ],
  ])("%s", async (name, { strike, says }) => {
    const out = join(folder, name.replaceAll(" ", "-"));
    const runs = await startNodes(tiny(1e5), {
      flags: (node) => (node === 0 ? ["--out", out] : []),
    });
    await stepped(out);
    const workers = runs.map(({ child }) => childrenOf(child.pid!));
    expect(workers.flat().every(isAlive)).toBe(true);
    strike(runs, workers);
    for (const [node, line] of says.entries()) {
      const { status } = await runs[node]!.ended;
      if (line === undefined) continue;
      expect(status).toBe(1);
      expect(lastLine(runs[node]!.stderr)).toMatch(line);
    }
    await until(() => !workers.flat().some(isAlive));
  });

  test.each([
    [0, "SIGTERM", 143],
    [1, "SIGTERM", 143],
    [0, "SIGUSR1", 138],
    [1, "SIGUSR2", 140],
  ] as const)("saves and ends on a signal to node %d's command, %s", async (node, name, status) => {
    const out = join(folder, `signal-${node}-${name}`);
    const runs = await startNodes(tiny(1e5), { flags: (n) => (n === 0 ? ["--out", out] : []) });
    await stepped(out);
    runs[node]!.child.kill(name);
    for (const run of runs) expect(await run.ended, run.stderr).toMatchObject({ status });
    expect(lastLine(runs[0]!.stdout)).toMatch(
      /; continue with: the same command again wherever you typed it, with --resume auto --out /,
    );
    expect(lastLine(runs[1]!.stdout)).toBe(`node 1 of 2: the run was ended by ${name}`);
    const done = logOf(out).filter(({ type }) => type === "step").length;
    expect(logOf(out).at(-1)).toMatchObject({ type: "end", status: "interrupted", steps: done });
    expect(existsSync(join(out, "checkpoint.safetensors"))).toBe(true);
  });
});

test("a run whose node 1 is stopped ends, and names its rank and host", async () => {
  const out = join(folder, "stopped-1");
  const runs = await startNodes([...tiny(1e5), "--timeout", "10"], {
    flags: (node) => (node === 0 ? ["--out", out] : []),
  });
  await stepped(out);
  const [worker] = childrenOf(runs[1]!.child.pid!);
  runs[1]!.child.kill("SIGSTOP"); // its worker goes on, but nobody passes its heartbeats on
  process.kill(worker!, "SIGSTOP");
  try {
    expect(await runs[0]!.ended).toMatchObject({ status: 1 });
    expect(lastLine(runs[0]!.stderr)).toMatch(/^onehour: rank 1 on .+ sends no heartbeats/);
  } finally {
    runs[1]!.child.kill("SIGKILL");
  }
});

describe("a run whose node 0 is stopped", () => {
  async function withStopped(name: string, then: (second: Run) => Promise<void>): Promise<void> {
    const out = join(folder, name);
    // No less than what node 1 waits in any case: a disk may take seconds to keep what a run begins with.
    const [first, second] = await startNodes([...tiny(1e5), "--timeout", "10"], {
      flags: (node) => (node === 0 ? ["--out", out] : []),
    });
    await stepped(out);
    const workers = childrenOf(second!.child.pid!);
    first!.child.kill("SIGSTOP");
    try {
      await then(second!);
      await until(() => !workers.some(isAlive));
    } finally {
      first!.child.kill("SIGKILL");
    }
  }

  test("ends on node 1 when that has heard nothing", () =>
    withStopped("stopped", async (second) => {
      expect(await second.ended).toMatchObject({ status: 1 });
      expect(lastLine(second.stderr)).toMatch(
        /^onehour: node 0 \(host .+, rank 0\) is lost: its supervisor has said nothing for 10 s, .+ Was it stopped\?$/,
      );
    }));

  test("ends on node 1 at its second signal", () =>
    withStopped("impatient", async (second) => {
      // Two that come while the process does not run are one; a third may find that it no longer listens.
      const signals = setInterval(() => second.child.kill("SIGTERM"), 500);
      const { status, signal } = await second.ended;
      clearInterval(signals);
      expect(signal ?? status).toBeOneOf([143, "SIGTERM"]);
    }));
});

test("a node hears why node 0 cannot begin", async () => {
  const images = join(folder, "no-images");
  const startOne = await onNodes(["train", images, "--device", "cpu"]);
  const second = startOne(1);
  await until(() => second.stdout.includes("looking for node 0"));
  const first = startOne(0);
  expect(await first.ended).toMatchObject({ status: 2 });
  expect(await second.ended).toMatchObject({ status: 2 });
  expect(lastLine(second.stderr)).toMatch(/^onehour: node 0 \(host .+\): .*no-images/);
});

test("a second command for a node that is there is refused, and the run goes on", async () => {
  const out = join(folder, "twice");
  const startOne = await onNodes(tiny(1e5), { flags: () => ["--out", out] });
  const runs = [startOne(0), startOne(1)];
  await stepped(out);
  const third = startOne(1);
  expect(await third.ended).toMatchObject({ status: 1 });
  expect(lastLine(third.stderr)).toMatch(
    /^onehour: node 1 is here already, from host .+\. Give each process a node rank of its own$/,
  );
  runs[0]!.child.kill("SIGTERM");
  for (const run of runs) expect(await run.ended).toMatchObject({ status: 143 });
});

test("a run whose nodes do not all come in time ends, and names who is missing", async () => {
  const [first, second, third] = await startNodes([...tiny(1), "--start-timeout", "10"], {
    nodes: 3,
  });
  third!.child.kill("SIGKILL");
  for (const run of [first!, second!]) {
    expect(await run.ended).toMatchObject({ status: 1 });
    expect(lastLine(run.stderr)).toMatch(
      /^onehour: node 2 of 3 did not come within 10 s \(nodes 0 and 1 are here, from host .+--start-timeout/,
    );
  }
});

test("a node that waits ends on a signal", async () => {
  const [first, second] = await startNodes(tiny(1));
  first!.child.kill("SIGKILL");
  await until(() => second!.stdout.includes("looking for node 0"));
  second!.child.kill("SIGINT");
  expect(await second!.ended).toMatchObject({ status: 130 });
});

test("a node with another secret is not admitted", async () => {
  const secrets = ["one", "another"].map((secret) => {
    const file = join(folder, `${secret}.txt`);
    writeFileSync(file, `${secret}\n`, { mode: 0o600 });
    return file;
  });
  const runs = await startNodes(tiny(1), {
    flags: (node) => [
      ...["--token-file", secrets[node]!, "--start-timeout", node === 0 ? "600" : "20"],
    ],
  });
  expect(await runs[1]!.ended).toMatchObject({ status: 1 });
  await until(() => runs[0]!.stdout.includes("one from 127.0.0.1 came with another token"));
  runs[0]!.child.kill("SIGTERM");
  expect(await runs[0]!.ended).toMatchObject({ status: 143 });
  expect(lastLine(runs[1]!.stderr)).toMatch(/it expects another token.*--token-file/);
});

test("a script that fails on one node ends on all, which name its rank and host", async () => {
  const script = join(folder, "fails.ts");
  writeFileSync(
    script,
    `import { connect } from "onehour";
const world = await connect();
if (world.rank === 1) throw new Error("made of cheese");
await world.barrier();\n`,
  );
  const runs = await startNodes(["launch", "--workers", "2", script]);
  for (const run of runs) {
    expect(await run.ended).toMatchObject({ status: 1 });
    expect(lastLine(run.stderr)).toMatch(/^onehour: rank 1 on .+: Error: made of cheese$/);
  }
});

test("a worker that reaches node 0's meeting but not the workers' says which port is closed", async () => {
  const port = await freePort();
  // As a firewall does that lets one port through.
  const relay = createServer((socket) => {
    const onward = connect(port, "127.0.0.1");
    const hangUp = () => {
      for (const one of [socket, onward]) one.destroy();
    };
    for (const one of [socket, onward]) one.on("error", hangUp);
    socket.pipe(onward).pipe(socket);
  });
  await new Promise<void>((resolve) => relay.listen(port, "127.0.0.2", resolve));
  try {
    const runs = await startNodes(tiny(1), { port, hosts: ["127.0.0.1", "127.0.0.2"] });
    for (const run of runs) {
      expect(await run.ended).toMatchObject({ status: 1 });
      expect(lastLine(run.stderr)).toMatch(
        /^onehour: rank 1 of 2, on host .+, found no rendezvous at 127\.0\.0\.2:\d+ within 45 s: .+\(connection refused\)/,
      );
    }
  } finally {
    relay.close();
  }
});
