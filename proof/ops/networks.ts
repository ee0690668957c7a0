// Whole training steps as cases: every fused form occurs as fusion makes it.
import { bytesOf } from "#lib/arrays/bytes-of.js";
import { Purpose, Random } from "#lib/data/random.js";
import { compile, type Precision, type TensorLayout } from "#lib/graph/compile.js";
import { parse } from "#lib/graph/parse.js";
import { buildModel } from "#lib/models/models.js";
import { initialScaling, scalingToFloats } from "#lib/ops/loss-scale.js";
import { optimizers } from "#lib/ops/optimizers/index.js";
import { toStored } from "#lib/run-folder/layout.js";
import { initialWeights } from "#lib/train/initialize.js";
import { arenasOf, type OpCase } from "./case.js";

/** What a device decides of a step's program. */
export interface StepTarget {
  /** Its kernels: they decide the fusions. */
  operations: ReadonlySet<string>;
  /** Image channels are padded to a multiple of this. */
  channelMultiple: number;
}

/** Whole steps, the quick one first; micro-batches accumulate where `accumulate` is 2. */
export const networks = [
  { model: "resnet8", images: { height: 12, width: 15, channels: 1 }, accumulate: 2 },
  { model: "resnet20", images: { height: 27, width: 29, channels: 3 }, accumulate: 1 },
  { model: "resnet50", images: { height: 65, width: 47, channels: 3 }, accumulate: 1 },
] as const;

/** Weights and statistics by model: the same in every precision, and some seconds of ResNet-50's. */
const drawn = new Map<string, Map<string, Float32Array>>();

function weightsOf(model: string, layouts: readonly TensorLayout[]): Map<string, Float32Array> {
  const known = drawn.get(model) ?? initialWeights(layouts, { seed: 1 });
  drawn.set(model, known);
  return known;
}

/** The programs of a training step, one after another on the same arenas. */
export function* networkCases(
  { model, images, accumulate }: (typeof networks)[number],
  precision: Precision,
  { operations, channelMultiple }: StepTarget,
): Generator<OpCase> {
  const batch = 3;
  const { channels } = images;
  const [mean, std] = [Array(channels).fill(0.5), Array(channels).fill(0.25)];
  const compiled = compile(
    buildModel(model, { channels, classes: 10 }),
    {
      device: { operations, properties: { channelMultiple } },
      image: images,
      mean,
      std,
      batch,
      accumulate,
      precision,
      slots: 1,
      labelSmoothing: 0.1,
    },
    { optimizer: optimizers.sgd() },
  );
  const programs = new Map(compiled.programs.map(({ name, text }) => [name, parse(text)]));
  const arenas = new Map<string, Uint8Array>();
  for (const program of programs.values())
    for (const [name, bytes] of arenasOf(program))
      if (bytes.length > (arenas.get(name)?.length ?? -1)) arenas.set(name, bytes);
  const { parameters, statistics } = compiled;
  const drawnWeights = weightsOf(model, [...parameters, ...statistics]);
  const put = (arena: string, layouts: readonly TensorLayout[]) => {
    for (const layout of layouts) {
      const weights = drawnWeights.get(layout.name)!;
      // γ = 0, as the paper has it at the end of a block, would hide all errors of that block.
      const values = layout.role === "gamma" ? weights.fill(0.75) : weights;
      arenas.get(arena)!.set(bytesOf(toStored(layout, values)), layout.offset);
    }
  };
  put("param", parameters);
  put("state", statistics);
  if (compiled.scaling.bytes > 0)
    arenas.get("state")!.set(bytesOf(scalingToFloats(initialScaling)), compiled.scaling.offset);
  const random = new Random(1, Purpose.synthetic);
  const input = arenas.get("input")!;
  const { images: pixels, flips, labels, schedule } = compiled.input;
  for (let i = 0; i < pixels.bytes; i++) input[pixels.offset + i] = random.below(256);
  for (let i = 0; i < batch; i++) input[flips.offset + i] = random.below(2);
  const view = new DataView(input.buffer);
  for (let i = 0; i < batch; i++) view.setInt32(labels.offset + 4 * i, random.below(10), true);
  view.setFloat32(schedule.offset, 0.1, true);
  view.setFloat32(schedule.offset + 4, 1, true);
  for (const name of ["weights", "micro", "last", "evaluate"]) {
    const program = programs.get(name);
    if (program) yield { name: `${model} ${precision} ${name}`, program, arenas };
  }
}
