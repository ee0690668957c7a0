// What the gradient noise scale and the moving average of the weights add to a step: the time of their kernels beside
// that of all others, for one of two workers with one thread. Prints rows for docs/benchmarks.md:
//   scripts/setup run && node --import jiti/register test/bench/additions.ts
import { bytesOf } from "#lib/arrays/bytes-of.js";
import { median } from "#lib/arrays/median.js";
import { stepSettings } from "#lib/bench/settings.js";
import { fillSlots } from "#lib/bench/step.js";
import { variantName, variantOf } from "#lib/bench/variants.js";
import { openDevice } from "#lib/device/open.js";
import { compile } from "#lib/graph/compile.js";
import { buildModel } from "#lib/models/models.js";
import { optimizers } from "#lib/ops/optimizers/index.js";
import { initialWeights } from "#lib/train/initialize.js";
import { writeWeights } from "#lib/train/state.js";

const cases = [
  { model: "resnet8", batch: 32, repeats: 101 },
  { model: "resnet20", batch: 32, repeats: 51 },
  { model: "resnet50", batch: 32, repeats: 5 },
];
const workers = 2;

/** The comments of their instructions. */
const additions = { noise: "noise scale", average: "ema" };

using device = openDevice({ device: "cpu", threads: 1 });

/** Milliseconds of the kernels of a step that carry each comment: the medians of so many runs of each. */
async function timesOf({ model, batch, repeats }: (typeof cases)[number]) {
  const settings = stepSettings({ model, batch, precision: "fp32", device: "cpu", threads: 1 });
  const { images, classes } = settings;
  const { channels } = images;
  const [mean, std] = [Array(channels).fill(0.5), Array(channels).fill(0.25)];
  const compiled = compile(
    buildModel(model, { channels, classes }),
    { device, image: images, mean, std, batch, workers, noiseScale: true, ema: true },
    { optimizer: optimizers.sgd() },
  );
  const { text } = compiled.programs.find(({ name }) => name === "last")!;
  const alone = variantOf(text, "alone", workers); // without its all-reduce
  const name = variantName("alone", workers);
  using executor = await device.load([{ name, text: alone }]);
  fillSlots(executor, compiled, settings);
  executor.input(0).set(bytesOf(Float32Array.of(0.001)), compiled.input.ema!.offset);
  const layouts = [...compiled.parameters, ...compiled.statistics];
  await writeWeights(executor, compiled, { weights: initialWeights(layouts, { seed: 0 }) });
  const lines = alone.split("\n");
  const times = new Map<string, number>();
  for (const { line, milliseconds } of await executor.measure(name, 0, repeats)) {
    const comment = lines[line - 1]!.split(" # ")[1] ?? "";
    times.set(comment, (times.get(comment) ?? 0) + median(milliseconds));
  }
  return times;
}

console.log(
  "| fp32, one thread | step, ms | noise scale, ms | share | moving average, ms | share |",
);
console.log("|---|---|---|---|---|---|");
for (const one of cases) {
  const times = await timesOf(one);
  const [noise, average] = Object.values(additions).map((comment) => times.get(comment)!);
  const all = [...times.values()].reduce((sum, time) => sum + time, 0);
  const step = all - noise! - average!; // without either
  const columns = [noise!, average!].flatMap((time) => [
    time.toPrecision(2),
    `${((100 * time) / step).toFixed(2)} %`,
  ]);
  console.log(
    `| ${[`${one.model}, batch ${one.batch}`, step.toFixed(1), ...columns].join(" | ")} |`,
  );
}
