// Trains on two machines, two workers each, started by hand; and what may happen to machines and to
// the network between them.
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { main } from "../cli/command.js";
import { logOf, stepsOf, temporaryFolder, writeFiles } from "../support/folder.js";
import { compiled, type Ended, lastLine, type Run, torchrun, until } from "../support/process.js";
import { Cluster, ipv4, ipv6 } from "./cluster.js";
import { withEngines } from "./engines.js";
import { type Card, type Host, Switch } from "./hosts.js";
import { lengthen } from "./slow-wire.js";
import { auto, naming, reaches, train, unbroken } from "./training.js";

const folder = temporaryFolder();
const short = 60;
const long = 500;

/** The command of one node; out is a folder that both see, unless it has a node's number in it. */
const node = (rank: number, out: string, steps: number, more: readonly string[] = []) =>
  train(out, {
    steps,
    more: [
      ...["--nodes", "2", "--node-rank", String(rank), "--rendezvous", "n1:29500"],
      ...["--workers-per-node", "2", "--resume", "auto", ...more],
    ],
  });

const startAll = (hosts: readonly Host[], out: string, steps: number, more?: readonly string[]) =>
  hosts.map((host, rank) => host.start(node(rank, out, steps, more)));

async function expectTrains(
  runs: readonly Run[],
  out: string,
  steps: number,
  workers = 4,
): Promise<void> {
  for (const run of runs) expect(await run.ended, run.stderr).toMatchObject({ status: 0 });
  expect(stepsOf(out)).toEqual(await unbroken(folder, workers, steps));
}

/** Waits for a run's end; only what hangs takes longer than `most` seconds. Prints how long it took. */
async function endOf(run: Run, what: string, most = 120): Promise<Ended> {
  const from = performance.now();
  const ended = await run.ended;
  const seconds = (performance.now() - from) / 1000;
  console.log(`${what}: ${seconds.toFixed(1)} s\n  ${lastLine(ended.stderr)}`);
  expect(seconds).toBeLessThan(most);
  return ended;
}

withEngines(["hosts"], "two machines", () => {
  let cluster: Cluster;
  const names = ["n1", "n2"];
  afterEach(() => cluster.end());

  test("start together, with a folder that both see", async () => {
    cluster = await Cluster.start(names);
    const out = join(folder, "together");
    await expectTrains(startAll(cluster.hosts, out, short), out, short);
  });

  test("are compared by the doctor, started by hand and as ranks of an engine", async () => {
    cluster = await Cluster.start(names);
    const command = [process.execPath, main, "launch", "--doctor"];
    const meeting = ["--nodes", "2", "--rendezvous", "n1:29500", "--workers-per-node", "2"];
    const byHand = (host: Host, rank: number) =>
      host.start([...command, ...meeting, "--node-rank", String(rank)]);
    const asRank = (host: Host, rank: number) =>
      host.start(command, {
        env: { ...torchrun(rank, 29500, "n1"), LOCAL_RANK: "0", LOCAL_WORLD_SIZE: "1" },
      });
    for (const [begin, count] of [[byHand, 6] as const, [asRank, 1] as const]) {
      const runs = cluster.hosts.map(begin);
      const [n1, n2] = await Promise.all(runs.map((run) => run.ended));
      for (const { status, stderr } of [n1!, n2!]) expect(status, stderr).toBe(0);
      expect(n1!.stdout).toMatch(/\nn1\n.*\nn2\n.*versions +alike on 2 hosts/s);
      const pairs = n1!.stdout.match(/^\w+ +ranks \d, \d .*$/gm)!;
      expect(pairs).toHaveLength(count);
      expect(n1!.stdout).toContain("TCP to 10.77.0.2:");
      expect(n2!.stdout).not.toContain("versions");
    }
  });

  test("wait for one that is late", async () => {
    cluster = await Cluster.start(names);
    const out = join(folder, "late");
    const [n1, n2] = cluster.hosts;
    const first = n1!.start(node(0, out, short));
    await new Promise((resolve) => setTimeout(resolve, 5000));
    await expectTrains([first, n2!.start(node(1, out, short))], out, short);
  });

  test.each([
    [0, /node 1 of 2 did not come within 5 s/],
    [1, /node 1 of 2, on host n2, found no rendezvous at n1:29500 within 5 s/],
  ])("name the one that never comes, on node %d", async (rank, missing) => {
    cluster = await Cluster.start(names);
    const out = join(folder, `never ${rank}`);
    const run = cluster.hosts[rank]!.start(node(rank, out, short, ["--start-timeout", "5"]));
    const { status, stderr } = await endOf(run, `node ${rank} alone, --start-timeout 5`);
    expect(status).toBe(1);
    expect(lastLine(stderr)).toMatch(missing);
  });

  test("IPv6 alone", async () => {
    cluster = await Cluster.start(names, { addresses: ipv6 });
    const out = join(folder, "ipv6");
    await expectTrains(startAll(cluster.hosts, out, short), out, short);
  });

  test("the link is cut in the middle: each names the other, and both continue", async () => {
    cluster = await Cluster.start(names);
    const out = join(folder, "cut");
    const runs = startAll(cluster.hosts, out, long, ["--timeout", "10"]);
    await reaches(out, 100, runs[0]!);
    cluster.hosts[1]!.unplug();
    const ends = await Promise.all(
      runs.map((run, rank) => endOf(run, `n${rank + 1} after the link was cut, --timeout 10`)),
    );
    expect(ends.map(({ status }) => status)).toEqual([1, 1]);
    expect(lastLine(ends[0]!.stderr)).toMatch(naming(1, "n2"));
    expect(lastLine(ends[1]!.stderr)).toMatch(naming(0, "n1"));
    cluster.hosts[1]!.replug();
    await expectTrains(startAll(cluster.hosts, out, long), out, long);
  });

  test("the link between two ranks of an engine is cut: each names the other, and both continue", async () => {
    cluster = await Cluster.start(names);
    const out = join(folder, "ranks");
    const startRanks = () =>
      cluster.hosts.map((host, rank) =>
        host.start(train(out, { steps: long, more: [...auto, "--timeout", "10"] }), {
          env: { ...torchrun(rank, 29500, "n1"), LOCAL_RANK: "0", LOCAL_WORLD_SIZE: "1" },
        }),
      );
    const runs = startRanks();
    await reaches(out, 100, runs[0]);
    cluster.hosts[1]!.unplug();
    for (const [rank, run] of runs.entries()) {
      const { status, stderr } = await endOf(
        run,
        `rank ${rank} after the link was cut, --timeout 10`,
      );
      expect(status).toBe(1);
      expect(lastLine(stderr)).toContain(rank === 0 ? "rank 1 on n2" : "rank 0 on n1");
    }
    cluster.hosts[1]!.replug();
    await expectTrains(startRanks(), out, long, 2);
  });

  test("a worker is killed: both nodes name it, and both continue", async () => {
    cluster = await Cluster.start(names);
    const out = join(folder, "worker");
    const runs = startAll(cluster.hosts, out, long);
    await reaches(out, 100, runs[0]!);
    cluster.hosts[1]!.signalWorker("KILL", out);
    for (const [index, run] of runs.entries()) {
      const { status, stderr } = await endOf(run, `n${index + 1} after a worker of n2 was killed`);
      expect(status).toBe(1);
      expect(lastLine(stderr)).toMatch(/rank [23] on n2: .*SIGKILL/);
    }
    await expectTrains(startAll(cluster.hosts, out, long), out, long);
  });

  test("a node is powered off: the other names it, and both continue", async () => {
    cluster = await Cluster.start(names);
    const out = join(folder, "power");
    const runs = startAll(cluster.hosts, out, long, ["--timeout", "10"]);
    await reaches(out, 100, runs[0]!);
    await cluster.hosts[1]!.powerOff();
    const { status, stderr } = await endOf(runs[0]!, "n1 after n2 was powered off, --timeout 10");
    expect(status).toBe(1);
    expect(lastLine(stderr)).toMatch(naming(1, "n2"));
    await cluster.boot(1);
    await expectTrains(startAll(cluster.hosts, out, long), out, long);
  });

  describe("with --max-restarts", () => {
    const more = ["--timeout", "10", "--max-restarts", "3"];
    const restartsOf = (out: string) =>
      logOf(out).flatMap((line) => (line.type === "restart" ? [line] : []));

    /** Two workers add up in another order than four: equal to rounding, which grows with the steps. */
    async function expectRounded(out: string, steps: number): Promise<void> {
      const expected = await unbroken(folder, 4, steps);
      const apart = stepsOf(out).map(({ loss }, step) => Math.abs(loss - expected[step]!.loss));
      expect(apart.length).toBe(steps);
      const { step } = restartsOf(out)[0]!;
      expect(Math.max(...apart.slice(0, step))).toBe(0);
      expect(Math.max(...apart.slice(0, step + 20))).toBeLessThan(1e-3);
      console.log(`losses with two workers in place of four: ${Math.max(...apart)} apart`);
    }

    test.each([0, 1])("node %d is powered off and comes back into the run", async (lost) => {
      cluster = await Cluster.start(names);
      const out = join(folder, `back ${lost}`);
      const runs = startAll(cluster.hosts, out, long, more);
      await reaches(out, 100, runs[0]);
      await cluster.hosts[lost]!.powerOff();
      const again = (await cluster.boot(lost)).start(node(lost, out, long, more));
      await expectTrains([runs[1 - lost]!, again], out, long);
      if (lost === 1)
        expect(restartsOf(out)).toMatchObject([{ cause: expect.stringMatching(/\bn2\b/) }]);
    });

    test("without a node that is powered off the run goes on, to take it in again later", async () => {
      cluster = await Cluster.start(names);
      const out = join(folder, "without");
      // The node must be back before the other one ends.
      const steps = 3 * long;
      const [first] = startAll(cluster.hosts, out, steps, [...more, "--min-nodes", "1"]);
      await reaches(out, 100, first);
      await cluster.hosts[1]!.powerOff();
      await until(() => restartsOf(out).length === 1);
      const second = (await cluster.boot(1)).start(
        node(1, out, steps, [...more, "--min-nodes", "1"]),
      );
      await until(() => second.stdout.includes("stands by") || second.child.exitCode !== null);
      cluster.hosts[0]!.signalWorker("KILL", out);
      for (const run of [first!, second])
        expect(await run.ended, run.stderr).toMatchObject({ status: 0 });
      const restarts = restartsOf(out);
      expect(restarts).toMatchObject([
        { count: 1, nodes: [0], workers: 2 },
        { count: 2, nodes: [0, 1], workers: 4 },
      ]);
      expect(restarts[0]!.cause).toMatch(/\bn2\b/);
      await expectRounded(out, steps);
    });

    test("without a node that is gone for good the run goes on to its end", async () => {
      cluster = await Cluster.start(names);
      const out = join(folder, "gone");
      const [first] = startAll(cluster.hosts, out, 300, [...more, "--min-nodes", "1"]);
      await reaches(out, 100, first);
      await cluster.hosts[1]!.powerOff();
      expect(await first!.ended, first!.stderr).toMatchObject({ status: 0 });
      expect(restartsOf(out)).toMatchObject([{ count: 1, nodes: [0], workers: 2 }]);
      await expectRounded(out, 300);
    });
  });

  test("each with a disk of its own: the run goes on where node 0 is another machine", async () => {
    cluster = await Cluster.start(names);
    const disk = join(folder, "disk");
    for (const host of cluster.hosts) host.mountDisk(disk);
    const out = join(disk, "run");
    const [n1, n2] = cluster.hosts;
    const runs = startAll([n1!, n2!], out, long);
    await reaches(n1!.path(out), 100, runs[0]);
    n2!.signal("TERM", out);
    for (const run of runs) expect(await run.ended, run.stderr).toMatchObject({ status: 143 });
    const again = startAll([n2!, n1!], out, long, ["--rendezvous", "n2:29500"]);
    for (const run of again) expect(await run.ended, run.stderr).toMatchObject({ status: 0 });
    expect(stepsOf(n2!.path(out))).toEqual(await unbroken(folder, 4, long));
  });

  test("a link of 100 ms that loses one frame in ten: slower, with the same losses", async () => {
    cluster = await Cluster.start(names);
    writeFiles(folder, {
      "net.ts": `import { globalAveragePool, network } from ${compiled("index")};
export default network((layers, x, { classes }) =>
  layers.linear("fc", globalAveragePool(layers.convNorm("stem", x, { filters: 8, window: 3 })), classes));\n`,
    });
    const more = ["--model", join(folder, "net.ts")];
    const [fast, slow] = ["fast", "slow"].map((name) => join(folder, name));
    for (const run of startAll(cluster.hosts, fast!, 20, more))
      expect(await run.ended, run.stderr).toMatchObject({ status: 0 });
    const remove = await lengthen(cluster.hosts[1]!, { seconds: 0.05, loss: 0.1 });
    const runs = startAll(cluster.hosts, slow!, 20, more);
    for (const run of runs)
      expect((await endOf(run, "20 steps over a bad link", 400)).status, run.stderr).toBe(0);
    await remove();
    expect(stepsOf(slow!)).toEqual(stepsOf(fast!));
  });

  test("the first network card leads nowhere", async () => {
    // As Docker's bridge: the same address on every machine.
    const addresses = ["172.17.0.1/16"];
    const cards = (host: number, lan: Card) => [
      { to: new Switch(`nowhere${host}`), addresses },
      lan,
    ];
    cluster = await Cluster.start(names, { cards });
    const out = join(folder, "nowhere");
    await expectTrains(startAll(cluster.hosts, out, short), out, short);
  });

  test("each host's own name is 127.0.1.1 to itself", async () => {
    const line = (host: number, other: number) =>
      `${other === host ? "127.0.1.1" : ipv4.of(other)} n${other}`;
    const etcHosts = (host: number) =>
      ["127.0.0.1 localhost", line(host, 1), line(host, 2), ""].join("\n");
    cluster = await Cluster.start(names, { etcHosts });
    const out = join(folder, "loopback");
    await expectTrains(startAll(cluster.hosts, out, short), out, short);
  });
});
