// Compares forecasts with measurements: two and four workers, each on a host of its own, a namespace behind a slow
// cable. Prints a row a case for docs/benchmarks.md:
//   scripts/setup run && scripts/namespaces node --import jiti/register test/engines/forecast.ts
import { median } from "#lib/arrays/median.js";
import { stepSettings } from "#lib/bench/settings.js";
import { plan } from "#lib/plan/plan.js";
import { main } from "../cli/command.js";
import { Cluster } from "./cluster.js";
import type { Measured } from "./forecast-worker.js";
import { type Host, sh } from "./hosts.js";

interface Case {
  model: string;
  batch: number;
  /** Of each host's cable, in Mbit/s each way. */
  rate: number;
  /** Of a round. */
  steps: number;
}

const cases: readonly Case[] = [
  { model: "resnet20", batch: 64, rate: 100, steps: 20 },
  { model: "resnet20", batch: 64, rate: 400, steps: 20 },
  { model: "resnet50", batch: 4, rate: 500, steps: 2 },
];
const rounds = 3;
const settingsOf = ({ model, batch, steps }: Case) => ({
  ...stepSettings({ model, batch, precision: "fp32", device: "cpu", threads: 1 }),
  ...{ steps, rounds },
});

const worker = new URL("forecast-worker.ts", import.meta.url).pathname;

/** Slows a host's cable, in both directions, as a switch of that rate does. */
function slow(host: Host, mbits: number): void {
  // Less than two of the kernel's largest frames at once would cut these up, which takes longer than the rate says.
  const burst = String(Math.max(131_072, 125 * mbits));
  const limit = ["rate", `${mbits}mbit`, "burst", burst, "latency", "500ms"];
  const tc = (dev: string) => ["tc", "qdisc", "replace", "dev", dev, "root", "tbf", ...limit];
  sh('"$@"', ...tc(host.cable()));
  sh('"$@"', ...host.words(tc("eth0")));
}

async function measure(hosts: readonly Host[], measuredCase: Case): Promise<Measured> {
  for (const host of hosts) slow(host, measuredCase.rate);
  const runs = hosts.map((host, rank) =>
    host.start([
      ...[process.execPath, main, "launch", "--workers-per-node", "1", "--rendezvous", "n1:29500"],
      ...["--nodes", String(hosts.length), "--node-rank", String(rank)],
      ...[worker, JSON.stringify(settingsOf(measuredCase))],
    ]),
  );
  const ends = await Promise.all(runs.map(({ ended }) => ended));
  const failed = ends.find(({ status }) => status !== 0);
  if (failed) throw new Error(failed.stderr);
  return JSON.parse(ends[0]!.stdout.trim().split("\n").at(-1)!);
}

/** The forecast of a step from the same step without its all-reduces, by as many workers at once. */
function forecast(one: Case, { alone, parts }: Measured, workers: number, latency: number) {
  const seconds = median(alone);
  // Instruction by instruction a step takes a little longer.
  const scale = seconds / parts.seconds;
  const { precision, threads, images, model, batch } = settingsOf(one);
  const update = parts.update * scale;
  const buckets = parts.buckets.map(({ bytes, ready }) => ({ bytes, ready: ready * scale }));
  const profile = {
    type: "onehour-profile" as const,
    ...{ model, images, batch, precision, threads, update, buckets },
    device: { kind: "cpu" as const, name: "one core" },
    compute: seconds - update,
    measured: [],
  };
  const link = `${one.rate}Mbit/s:${(latency * 1e6).toFixed(1)}us`;
  return plan({ profile, link, workers: [workers] }).forecasts[0]!.seconds;
}

const ms = (seconds: number) => Math.round(1000 * seconds).toLocaleString("en");

console.log("| | Mbit/s | workers | without communication, ms | forecast | measured | ratio |");
console.log("|---|---|---|---|---|---|---|");
const cluster = await Cluster.start(["n1", "n2", "n3", "n4"]);
try {
  for (const one of cases) {
    let latency = 0;
    for (const workers of [2, 4]) {
      const measured = await measure(cluster.hosts.slice(0, workers), one);
      // Two ranks sum one number by two messages after one another.
      if (workers === 2) latency = measured.smallest / 2;
      const seconds = forecast(one, measured, workers, latency);
      const step = median(measured.step);
      const row = [
        `${one.model}, batch ${one.batch}`,
        ...[one.rate.toLocaleString("en"), workers, ms(median(measured.alone)), ms(seconds)],
        `${ms(step)} (${ms(Math.min(...measured.step))} to ${ms(Math.max(...measured.step))})`,
        (step / seconds).toFixed(2),
      ];
      console.log(`| ${row.join(" | ")} |`);
    }
  }
} finally {
  await cluster.end();
}
