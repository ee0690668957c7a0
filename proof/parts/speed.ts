// Races ResNet-50's training step against PyTorch's on the same card in the same minutes, and compares the
// bandwidth of its ops, and of the update of all parameters, with a plain copy's.

import { median } from "#lib/arrays/median.js";
import type { StepSettings } from "#lib/bench/contender.js";
import { measureOps } from "#lib/bench/ops.js";
import { stepSettings } from "#lib/bench/settings.js";
import { defaultThreads } from "#lib/device/cores.js";
import type { Device } from "#lib/device/device.js";
import { dryRun, throughput } from "../race.js";
import { type Report, runPart } from "../results/report.js";

/** Parameters of ResNet-50, up to a multiple of 16. */
const PARAMETERS = 25_557_040;
const COPIED = 2 ** 28; // f32 elements
const repeats = 20;
const topOps = 12;

/** Seconds that must be left to load the step once more, whose plans are known by then. */
const loadSeconds = 20;
/** The same where the batch is another than before, for whose shapes there are no plans yet. */
const newBatchSeconds = 60;

/** Milliseconds of a program of one line, the median. */
async function timed(
  device: Device,
  arenas: Record<string, number>,
  line: string,
): Promise<number> {
  const lines = Object.entries(arenas).map(([name, bytes]) => `arena ${name} ${bytes}`);
  const text = ["onehour-program 1", "name timed", ...lines, line, ""].join("\n");
  using executor = await device.load([{ name: "timed", text }]);
  for (let i = 0; i < 3; i++) await executor.submit("timed", 0);
  const [timing] = await executor.measure("timed", 0, repeats);
  return median(timing!.milliseconds);
}

/** Bytes a second of a copy, read and written. */
async function copyRate(device: Device, count: number): Promise<number> {
  const line = `compute copy | x=temp+0:f32[${count}] -> y=temp+${4 * count}:f32[${count}]`;
  return (8 * count) / ((await timed(device, { temp: 8 * count }, line)) / 1000);
}

/** Milliseconds of the update of all parameters, and the bytes that it moves. */
async function updateTime(device: Device, count: number) {
  const f32 = (name: string, arena: string) => `${name}=${arena}+0:f32[${count}]`;
  const [w, g, v] = [f32("w", "param"), f32("g", "grad"), f32("v", "state")];
  const line =
    `compute sgd form=gradient nesterov=1 momentum=0.9 segments=${count}:0.0001 zero=0 ` +
    `| ${w} ${g} ${v} schedule=input+0:f32[2] ` +
    `-> ${w} ${v} copy=weight+0:bf16[${count}] finite=output+0:f32[1]`;
  const flat = 4 * count;
  const arenas = { param: flat, weight: flat / 2, grad: flat, state: flat, input: 64, output: 64 };
  const milliseconds = await timed(device, arenas, line);
  return { milliseconds, bytes: 22 * count }; // w and v read and written, g read, copy written
}

/** Times the update of all parameters and a copy of its bytes; returns the copy's bytes a second. */
async function copyAndUpdate(report: Report, copied: number, updated: number): Promise<number> {
  using device = report.open();
  const copy = await copyRate(device, copied);
  report.note(`copy: ${(copy / 1e9).toFixed(0)} GB/s, read and written`);
  const update = await updateTime(device, updated);
  const ideal = (update.bytes / copy) * 1000;
  report.note(
    `update of ${updated.toLocaleString("en")} parameters: ${update.milliseconds.toFixed(3)} ms, ` +
      `${(update.milliseconds / ideal).toFixed(2)} times a copy of its bytes (aim 1.3)`,
  );
  report.record("copyBytesPerSecond", copy);
  report.record("update", { parameters: updated, ...update, ideal });
  return copy;
}

/** Ops by time with their bandwidth, as a share of a copy's bytes a second. */
async function bandwidths(report: Report, settings: StepSettings, copy: number) {
  using device = report.open();
  const gigabytes = (bytes: number, milliseconds: number) => bytes / milliseconds / 1e6;
  const { lines, ops } = await measureOps(device, settings, repeats);
  const total = ops.reduce((sum, { milliseconds = 0 }) => sum + milliseconds, 0);
  report.check("every op was timed", total > 0, "no times");
  for (const { op, lines: count, bytes, milliseconds = 0 } of ops.slice(0, topOps)) {
    const rate = gigabytes(bytes, milliseconds);
    report.note(
      `${op}, ${count} lines: ${milliseconds.toFixed(3)} ms, ` +
        `${((100 * milliseconds) / total).toFixed(1)} %, ${rate.toFixed(0)} GB/s, ` +
        `${((100 * rate * 1e9) / copy).toFixed(0)} % of a copy`,
    );
  }
  const slowest = [...lines]
    .sort((a, b) => (b.milliseconds ?? 0) - (a.milliseconds ?? 0))
    .slice(0, 4 * topOps);
  report.record("ops", ops);
  report.record("slowest lines", slowest);
}

await runPart("speed", async (report) => {
  if (report.settings.device !== "cuda") {
    const copy = await copyAndUpdate(report, 2 ** 16, 2 ** 16);
    await bandwidths(report, await dryRun(report), copy);
    return;
  }
  const common = { model: "resnet50", precision: "bf16", device: "cuda" } as const;
  const threads = defaultThreads(); // which make plans too
  const settings = (batch: number) => stepSettings({ ...common, threads, batch });
  await throughput(report, settings(256), ["eager", "compiled"]);
  if (report.secondsLeft < loadSeconds) report.skip("ops: the part's time is over");
  else await bandwidths(report, settings(256), await copyAndUpdate(report, COPIED, PARAMETERS));
  for (const batch of [128, 64, 32]) {
    if (report.secondsLeft < newBatchSeconds)
      report.skip(`batch ${batch}: the part's time is over`);
    else await throughput(report, settings(batch), ["eager"]);
  }
});
