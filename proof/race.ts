// Races ResNet-50's training step against PyTorch's, on the same card in the same minutes.

import { median } from "#lib/arrays/median.js";
import type { Contender, StepSettings } from "#lib/bench/contender.js";
import { startPyTorch } from "#lib/bench/pytorch.js";
import { type ContenderResult, race, ratioOf } from "#lib/bench/race.js";
import { stepSettings } from "#lib/bench/settings.js";
import { startWorkers } from "#lib/bench/workers.js";
import { describeState, type GpuState, GpuWatch } from "./results/nvidia-smi.js";
import type { Report } from "./results/report.js";

type Mode = "eager" | "compiled";

const ROUNDS = 3;

/** Seconds that must be left for PyTorch's start and a round. */
const raceSeconds = { eager: 25, compiled: 60 };

/** Seconds that a round takes at most. */
const roundSeconds = 8;

/** Our rate alone, then a race against PyTorch in each of the modes, as far as the time goes. */
export async function throughput(
  report: Report,
  settings: StepSettings,
  modes: readonly Mode[],
): Promise<void> {
  const { batch } = settings;
  const start = performance.now();
  // PyTorch starts when this has ended: neither may take processors or memory from the other's search
  // for the fastest kernels.
  const crew = await startWorkers([{ workers: 1, batch }], settings);
  try {
    const ours = crew.contender(1);
    const loaded = (performance.now() - start) / 1000;
    using watch = new GpuWatch();
    const since = performance.now();
    const { results } = await race([ours], { rounds: 1 });
    const gpu = watch.since(since);
    const rate = results[0]!.imagesPerSecond;
    report.check("the step runs", rate > 0, `${rate} images/s`);
    report.note(
      `batch ${batch}: ${rate.toFixed(0)} images/s alone, loaded in ${loaded.toFixed(1)} s; ` +
        describeState(gpu),
    );
    report.record(`batch ${batch}`, { results, gpu, loadSeconds: loaded });
    for (const mode of modes) await raced(report, ours, settings, mode);
  } finally {
    await crew.close();
  }
}

/** Races `ours` against PyTorch, if it takes part, which is its own affair. */
async function raced(
  report: Report,
  ours: Contender,
  settings: StepSettings,
  mode: Mode,
): Promise<void> {
  const { batch } = settings;
  const without = (reason: string) =>
    report.skip(`batch ${batch} against PyTorch, ${mode}: ${reason}`);
  const seconds = report.secondsLeft;
  if (seconds < raceSeconds[mode]) return without("the part's time is over");
  try {
    // A compilation without end must leave time to write that.
    const other = await startPyTorch(settings, "cuda", mode, seconds - 3);
    try {
      await other.run(1); // compiles, and searches
      await against(report, ours, other, batch);
    } finally {
      await other.close();
    }
  } catch (error) {
    // Where a batch does not fit next to PyTorch, smaller ones may.
    const { code, message } = error as { code?: string; message: string };
    if (code !== "ERR_ONEHOUR_PYTORCH" && !/memory/i.test(message)) throw error;
    without(message);
  }
}

/** A contender that keeps what the GPU was like in its last run. */
function watched(contender: Contender, watch: GpuWatch): Contender & { gpu: () => GpuState } {
  let gpu: GpuState;
  return {
    ...contender,
    gpu: () => gpu,
    async run(steps) {
      const since = performance.now();
      const round = await contender.run(steps);
      gpu = watch.since(since);
      return round;
    },
  };
}

/** Rounds of both in turn, recorded after each: the part may be cut off at any time. */
async function against(report: Report, ours: Contender, other: Contender, batch: number) {
  using watch = new GpuWatch();
  const contenders = [watched(ours, watch), watched(other, watch)] as const;
  const rounds: ContenderResult[][] = [];
  const gpu: GpuState[][] = [];
  while (rounds.length < ROUNDS) {
    if (report.secondsLeft < roundSeconds) {
      report.skip(`round ${rounds.length + 1} against ${other.name}: the part's time is over`);
      return;
    }
    rounds.push((await race(contenders, { rounds: 1 })).results);
    gpu.push(contenders.map((contender) => contender.gpu()));
    const ratio = median(rounds.map((results) => ratioOf(results)!));
    const [mine, theirs] = [0, 1].map((i) =>
      median(rounds.map((results) => results[i]!.imagesPerSecond)).toFixed(0),
    );
    report.record(`batch ${batch} against ${other.name}`, { ratio, rounds, gpu });
    report.note(
      `batch ${batch}, ${rounds.length} of ${ROUNDS} rounds: ${mine} images/s ` +
        `(${describeState(gpu.at(-1)![0]!)}), ${other.name} ${theirs} ` +
        `(${describeState(gpu.at(-1)![1]!)}), ratio ${ratio.toFixed(2)}`,
    );
  }
}

/** A small step on the CPU, alone; returns its settings. */
export async function dryRun(report: Report): Promise<StepSettings> {
  report.skip("ResNet-50 at 224×224 and PyTorch: without a GPU this only shows that the part runs");
  const common = { model: "resnet8", precision: "fp32", device: "cpu", threads: 1 } as const;
  const settings = stepSettings({ ...common, batch: report.settings.small ? 8 : 64 });
  await throughput(report, settings, []);
  return settings;
}
