// Measures ResNet-50's training step beside PyTorch's on the same card in the same minutes, what its ops
// move per second beside a plain copy, and the update of all parameters.
import type { Contender, StepSettings } from "../bench/contender.js";
import { median } from "../bench/median.js";
import { measureOps } from "../bench/ops.js";
import { startPyTorch } from "../bench/pytorch.js";
import { stepSettings } from "../bench/settings.js";
import { type ContenderResult, race, ratioOf } from "../bench/throughput.js";
import { startWorkers } from "../bench/workers.js";
import type { Device } from "../device.js";
import { type Report, runPart } from "./report.js";

/** Parameters of ResNet-50, up to a multiple of 16. */
const PARAMETERS = 25_557_040;
const COPIED = 2 ** 28; // f32 elements
const repeats = 20;
const topOps = 12;

const ROUNDS = 3;

/** Seconds that must be left for a race, which begins with the search for plans on both sides. */
const raceSeconds = { eager: 45, compiled: 75 };
/** The same where the batch is another than before, for whose shapes there are no plans yet. */
const newBatchSeconds = 80;
/** Seconds that must be left to load the step once more, whose plans are made anew. */
const loadSeconds = 60;

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

/** Images a second of onehour and another in turn, told after every round: a cut-off comes unasked. */
async function against(report: Report, ours: Contender, other: Contender, batch: number) {
  const rounds: ContenderResult[][] = [];
  while (rounds.length < ROUNDS) {
    rounds.push((await race([ours, other], batch, undefined, 1)).results);
    const ratio = median(rounds.map((results) => ratioOf(results)!));
    const [mine, theirs] = [0, 1].map((i) =>
      median(rounds.map((results) => results[i]!.imagesPerSecond)).toFixed(0),
    );
    report.record(`batch ${batch} against ${other.name}`, { ratio, rounds });
    report.note(
      `batch ${batch}, ${rounds.length} of ${ROUNDS} rounds: ${mine} images/s, ` +
        `${other.name} ${theirs}, ratio ${ratio.toFixed(2)}`,
    );
  }
}

/** Races `ours` against PyTorch; false where PyTorch does not take part, which is its own affair. */
async function raced(
  report: Report,
  ours: Promise<Contender>,
  settings: StepSettings,
  mode: "eager" | "compiled",
): Promise<boolean> {
  const { batch } = settings;
  const without = (reason: string) => {
    report.skip(`batch ${batch} against PyTorch, ${mode}: ${reason}`);
    return false;
  };
  const seconds = report.secondsLeft;
  if (seconds < raceSeconds[mode]) return without("the part's time is over");
  // A compilation without end must leave time for the eager race.
  const limit = mode === "compiled" ? seconds - raceSeconds.eager : seconds;
  try {
    const other = await startPyTorch(settings, "cuda", mode, limit);
    try {
      await other.run(1); // compiles while onehour's worker searches for plans
      await against(report, await ours, other, batch);
      return true;
    } finally {
      await other.close();
    }
  } catch (error) {
    // A batch that does not fit beside PyTorch says nothing of the smaller ones.
    const { code, message } = error as { code?: string; message: string };
    if (code !== "ERR_ONEHOUR_PYTORCH" && !/memory/i.test(message)) throw error;
    return without(message);
  }
}

/** Races against PyTorch in some modes, or, where it takes part in none, a run alone. */
async function throughput(
  report: Report,
  settings: StepSettings,
  modes: ("eager" | "compiled")[],
  hasPlans = false,
) {
  const { batch } = settings;
  const needed = hasPlans ? raceSeconds.eager : newBatchSeconds;
  if (modes.length > 0 && report.secondsLeft < needed) {
    report.skip(`batch ${batch}: the part's time is over`);
    return;
  }
  const ours = startWorkers(1, settings);
  ours.catch(() => {}); // told where it is awaited
  try {
    let told = false;
    for (const mode of modes) told = (await raced(report, ours, settings, mode)) || told;
    if (told) return;
    const { results } = await race([await ours], batch, undefined, ROUNDS);
    const rate = results[0]!.imagesPerSecond;
    report.check("the step runs", rate > 0, `${rate} images/s`);
    report.note(`batch ${batch}: ${rate.toFixed(0)} images/s`);
    report.record(`batch ${batch}`, { results });
  } finally {
    await ours.then(
      (started) => started.close(),
      () => {},
    );
  }
}

/** The update of all parameters beside a copy of its bytes; returns the copy's bytes a second. */
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

/** Ops by time with their bandwidth, beside a copy's bytes a second. */
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
  const { device, small } = report.settings;
  if (device === "cuda") {
    const common = { model: "resnet50", precision: "bf16", device: "cuda", threads: 1 } as const;
    const settings = (batch: number) => stepSettings({ ...common, batch });
    const copy = await copyAndUpdate(report, COPIED, PARAMETERS);
    await throughput(report, settings(256), ["compiled"]);
    if (report.secondsLeft < loadSeconds) report.skip("ops: the part's time is over");
    else await bandwidths(report, settings(256), copy);
    await throughput(report, settings(256), ["eager"], true);
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
  const copy = await copyAndUpdate(report, 2 ** 16, 2 ** 16);
  await bandwidths(report, settings, copy);
  await throughput(report, settings, []);
});
