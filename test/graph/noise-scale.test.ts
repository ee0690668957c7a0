// The sums of squares for the gradient noise scale, in the programs of two ranks that meet in this process.
import { expect, test } from "vitest";
import type { Precision, Slice } from "../../lib/graph/compile.js";
import { parse } from "../../lib/graph/parse.js";
import { beginsUpdate } from "../../lib/graph/update.js";
import { optimizers } from "../../lib/ops/optimizers/index.js";
import { TestNetwork } from "../../proof/network.js";
import { connectAll } from "../support/communicators.js";
import { device, deviceOf } from "../support/device.js";

const images = { height: 12, width: 12, channels: 1 };
const square = (values: readonly number[]) => values.reduce((sum, x) => sum + x * x, 0);

async function gradientOf(network: TestNetwork): Promise<number[]> {
  const all: number[] = [];
  for (const layout of network.compiled.parameters)
    all.push(...(await network.read("grad", layout)));
  return all;
}

/** One step of two ranks: what the first has in its output, and the summed gradient. */
async function stepOfTwo(precision: Precision, clipNorm?: number) {
  const communicators = await connectAll(2);
  const networks = await Promise.all(
    communicators.map((gradients, rank) =>
      TestNetwork.load(deviceOf(rank), "resnet8", 4, {
        ...{ images, rank, workers: 2, precision, noiseScale: true },
        communicators: { gradients },
        update: { optimizer: optimizers.sgd(), clipNorm },
      }),
    ),
  );
  const [first] = networks as [TestNetwork];
  try {
    for (const network of networks) await network.initialize("robust");
    await Promise.all(networks.map((network) => network.run("last", 0)));
    const { noise } = first.compiled.output;
    const floats = ({ offset, bytes }: Slice) =>
      new Float32Array(first.executor.output(0).slice(offset, offset + bytes).buffer);
    const sum = (rows: Slice) =>
      floats(rows).reduce((total, value, i) => total + (i % 3 === 1 ? value : 0), 0);
    const [scale = 1] = floats(noise!.scale);
    return {
      small: sum(noise!.small) / scale ** 2,
      large: sum(noise!.large) / scale ** 2,
      scale,
      gradient: await gradientOf(first),
      programs: first.compiled.programs,
    };
  } finally {
    for (const network of networks) network.dispose();
  }
}

test("are those of each rank's gradient and of their sum, before it is clipped", async () => {
  const { small, large, gradient, programs } = await stepOfTwo("fp32");
  const alone = await TestNetwork.load(device, "resnet8", 4, { images });
  await alone.initialize("robust");
  await alone.run("last", 0);
  const own = (await gradientOf(alone)).map((g) => g / 2); // over the images of both ranks
  alone.dispose();
  const other = gradient.map((g, i) => g - own[i]!);
  expect(small / (square(own) + square(other))).toBeCloseTo(1, 4);
  expect(large / square(gradient)).toBeCloseTo(1, 4);

  const clipped = await stepOfTwo("fp32", 1e-3);
  expect(square(clipped.gradient)).toBeLessThan(1.01e-6);
  expect([clipped.small / small, clipped.large / large]).toEqual([
    expect.closeTo(1, 5),
    expect.closeTo(1, 5),
  ]);

  // The scaled loss of fp16; its gradients are rounded to 11 bits in every layer.
  const scaled = await stepOfTwo("fp16");
  expect(scaled.scale).toBe(2 ** 16);
  expect(Math.abs(scaled.small / small - 1)).toBeLessThan(0.05);
  expect(Math.abs(scaled.large / large - 1)).toBeLessThan(0.05);

  const last = parse(programs.find(({ name }) => name === "last")!.text).instructions;
  const update = last.findIndex(beginsUpdate);
  expect(last.slice(0, update).filter(({ op }) => op === "norms").length).toBeGreaterThan(0);
  expect(last.slice(update).some(({ op }) => op.endsWith("-backward"))).toBe(false);
});
