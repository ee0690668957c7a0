// Measures ResNet-50's training step beside PyTorch's on the same card in the same minutes, what its ops
// move per second beside a plain copy, and the update of all parameters.
import type { Contender, StepSettings } from "../bench/contender.js";
import { median } from "../bench/median.js";
import { measureOps } from "../bench/ops.js";
import { startPyTorch } from "../bench/pytorch.js";
import { stepSettings } from "../bench/settings.js";
import { race, ratioOf } from "../bench/throughput.js";
import { startWorkers } from "../bench/workers.js";
import type { Device } from "../device.js";
import { type Report, runPart } from "./report.js";

/** Parameters of ResNet-50, up to a multiple of 16. */
const PARAMETERS = 25_557_040;
const COPIED = 2 ** 28; // f32 elements
const repeats = 20;
const topOps = 12;

/**
 * Seconds that must be left for a race: with PyTorch as it is, whose start includes cuDNN's search for
 * new shapes on both sides, and with torch.compile's compilation.
 */
const raceSeconds = 45;
const compiledSeconds = 75;

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

/** Images a second of onehour and another, in turn. */
async function against(report: Report, ours: Contender, other: Contender, settings: StepSettings) {
  try {
    const { results } = await race([ours, other], settings.batch, undefined, 3);
    const [mine, theirs] = results;
    const ratio = ratioOf(results)!;
    report.note(
      `batch ${settings.batch}: ${mine!.imagesPerSecond.toFixed(0)} images/s, ` +
        `${other.name} ${theirs!.imagesPerSecond.toFixed(0)}, ratio ${ratio.toFixed(2)}`,
    );
    report.record(`batch ${settings.batch} against ${other.name}`, { ratio, results });
  } finally {
    await other.close();
  }
}

async function throughput(report: Report, settings: StepSettings, modes: ("eager" | "compiled")[]) {
  if (modes.length > 0 && report.secondsLeft < raceSeconds) {
    report.skip(`batch ${settings.batch}: the part's time is over`);
    return;
  }
  const ours = await startWorkers(1, settings);
  try {
    if (modes.length === 0) {
      const { results } = await race([ours], settings.batch, undefined, 3);
      const rate = results[0]!.imagesPerSecond;
      report.check("the step runs", rate > 0, `${rate} images/s`);
      report.note(`batch ${settings.batch}: ${rate.toFixed(0)} images/s`);
      report.record(`batch ${settings.batch}`, { results });
    }
    for (const mode of modes) {
      if (report.secondsLeft < (mode === "compiled" ? compiledSeconds : raceSeconds)) {
        report.skip(`batch ${settings.batch} against PyTorch, ${mode}: the part's time is over`);
        continue;
      }
      await against(report, ours, await startPyTorch(settings, "cuda", mode), settings);
    }
  } finally {
    await ours.close();
  }
}

/** Ops by time with their bandwidth, beside that of a copy. */
async function bandwidths(report: Report, settings: StepSettings, copied: number, updated: number) {
  using device = report.open();
  const copy = await copyRate(device, copied);
  const gigabytes = (bytes: number, milliseconds: number) => bytes / milliseconds / 1e6;
  report.note(`copy: ${(copy / 1e9).toFixed(0)} GB/s, read and written`);
  const update = await updateTime(device, updated);
  const ideal = (update.bytes / copy) * 1000;
  report.note(
    `update of ${updated.toLocaleString("en")} parameters: ${update.milliseconds.toFixed(3)} ms, ` +
      `${(update.milliseconds / ideal).toFixed(2)} times a copy of its bytes (aim 1.3)`,
  );
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
  report.record("copyBytesPerSecond", copy);
  report.record("update", { parameters: updated, ...update, ideal });
  report.record("ops", ops);
  report.record("slowest lines", slowest);
}

await runPart("speed", async (report) => {
  const { device, small } = report.settings;
  if (device === "cuda") {
    const common = { model: "resnet50", precision: "bf16", device: "cuda", threads: 1 } as const;
    const settings = (batch: number) => stepSettings({ ...common, batch });
    await bandwidths(report, settings(256), COPIED, PARAMETERS);
    await throughput(report, settings(256), ["eager", "compiled"]);
    for (const batch of [128, 64, 32]) await throughput(report, settings(batch), ["eager"]);
    return;
  }
  report.skip("ResNet-50 at 224×224 and PyTorch: without a GPU this only shows that the part runs");
  const settings = stepSettings({
    model: "resnet8",
    batch: small ? 8 : 64,
    precision: "fp32",
    device: "cpu",
    threads: 1,
  });
  await bandwidths(report, settings, 2 ** 16, 2 ** 16);
  await throughput(report, settings, []);
});
