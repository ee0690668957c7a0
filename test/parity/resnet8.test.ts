// Compares ResNet-8 as a whole to PyTorch in double precision: a step, ten steps, an evaluation.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { median } from "../../lib/arrays/median.js";
import type { TensorLayout } from "../../lib/graph/compile.js";
import { optimizers } from "../../lib/ops/optimizers/index.js";
import { norm, relativeError } from "../../proof/compare.js";
import {
  errorScale,
  type NetworkOptions,
  projectedError,
  TestNetwork,
} from "../../proof/network.js";
import { lookup, readFixture } from "../../proof/ops/fixtures.js";
import { device } from "../support/device.js";

const references = readFixture("resnet8");
const fixture = lookup(references);

/** Runs the tests of `body` on one loaded network. */
function withNetwork(
  batch: number,
  options: NetworkOptions,
  body: (network: () => TestNetwork) => void,
): void {
  let network: TestNetwork;
  beforeAll(async () => {
    network = await TestNetwork.load(device, "resnet8", batch, options);
  });
  afterAll(() => network?.dispose());
  body(() => network);
}

async function expectStatistics(network: TestNetwork, prefix: string, tolerance: number) {
  for (const layout of network.compiled.statistics) {
    const got = await network.read("state", layout);
    const expected = fixture(`${prefix}/statistics/${layout.name}`).data;
    expect(relativeError(got, expected), layout.name).toBeLessThan(tolerance);
  }
}

/** The relative error of each gradient; `scale` gives what the error is divided by. */
async function gradientErrors(
  network: TestNetwork,
  scale: (layout: TensorLayout, normOf: (name: string) => number) => number,
): Promise<Map<string, number>> {
  const reference = (name: string) => fixture(`step/gradient/${name}`).data;
  const errors = new Map<string, number>();
  for (const layout of network.compiled.parameters) {
    const got = await network.read("grad", layout);
    const divisor = scale(layout, (name) => norm(reference(name)));
    errors.set(layout.name, relativeError(got, reference(layout.name), divisor));
  }
  return errors;
}

describe("a step in fp32", () => {
  withNetwork(8, {}, (network) => {
    it("has the oracle's loss, gradients and running statistics", async () => {
      await network().initialize("robust");
      const [loss] = await network().run("last", 0);
      const expected = fixture("step/loss").data[0]!;
      expect(Math.abs(loss! - expected) / expected).toBeLessThan(1e-5);

      const errors = await gradientErrors(network(), ({ name }, normOf) => normOf(name));
      const gradients = [...references.keys()].filter((key) => key.startsWith("step/gradient/"));
      expect(errors.size).toBe(gradients.length);
      for (const [name, error] of errors) expect(error, name).toBeLessThan(2e-3);
      expect(median([...errors.values()])).toBeLessThan(1e-4);
      await expectStatistics(network(), "step", 1e-5);
    });
  });
});

describe("a step in bf16", () => {
  withNetwork(8, { precision: "bf16" }, (network) => {
    // Activations near ±2 and 4 carry a signal of some tenths, of which the rounding of bf16 (2⁻⁸ of
    // the whole) takes a few hundredths. PyTorch's own autocast has a median error of 0.03 and a
    // worst one of 0.14 in this step.
    it("follows the double-precision oracle as closely as bf16 allows", async () => {
      await network().initialize("robust");
      const [loss] = await network().run("last", 0);
      expect(Math.abs(loss! / fixture("step/loss").data[0]! - 1)).toBeLessThan(1e-3);
      const errors = await gradientErrors(network(), errorScale);
      for (const [name, error] of errors) expect(error, name).toBeLessThan(0.2);
      expect(median([...errors.values()])).toBeLessThan(0.05);
      await expectStatistics(network(), "step", 2 ** -8);
    });
  });
});

describe("a step in fp16", () => {
  withNetwork(8, { precision: "fp16" }, (network) => {
    // An eighth of the roundings of bf16, and gradients of a scaled loss: none is rounded to 0.
    it("follows the double-precision oracle as closely as fp16 allows", async () => {
      await network().initialize("robust");
      const [loss] = await network().run("last", 0);
      expect(Math.abs(loss! / fixture("step/loss").data[0]! - 1)).toBeLessThan(1.25e-4);
      const errors = await gradientErrors(network(), errorScale);
      for (const [name, error] of errors) expect(error, name).toBeLessThan(0.025);
      expect(median([...errors.values()])).toBeLessThan(0.006);
      await expectStatistics(network(), "step", 2 ** -11);
    });
  });
});

const sgd = optimizers.sgd();
const lars = optimizers.lars();

describe.each([
  { prefix: "train", accumulate: 1, rate: 0.1, update: { optimizer: sgd } },
  { prefix: "accumulate", accumulate: 2, rate: 0.1, update: { optimizer: sgd } },
  { prefix: "clip", accumulate: 1, rate: 0.1, update: { optimizer: sgd, clipNorm: 0.5 } },
  { prefix: "lars", accumulate: 2, rate: 2, update: { optimizer: lars, clipNorm: 2 } },
])("ten steps: $prefix, $accumulate micro-batches", ({ prefix, accumulate, rate, update }) => {
  withNetwork(32, { accumulate, update }, (network) => {
    it("have the losses, parameters and running statistics of PyTorch's", async () => {
      await network().initialize("paper");
      const expected = fixture(`${prefix}/losses`).data;
      for (let step = 0, micro = 0; step < expected.length; step++) {
        for (let j = 1; j < accumulate; j++) await network().run("micro", micro++ % 2);
        const [loss, , , count] = await network().run("last", micro++ % 2, { rate });
        expect(Math.abs(loss! / expected[step]! - 1), `step ${step}`).toBeLessThan(1e-5);
        expect(count).toBe(32 * accumulate);
      }
      await expectStatistics(network(), prefix, 1e-5);
      const normOf = (name: string) => fixture(`${prefix}/norm/${name}`).data[0]!;
      for (const layout of network().compiled.parameters) {
        const { name } = layout;
        const { data } = fixture(`${prefix}/projections/${name}`);
        const got = await network().read("param", layout);
        const error = projectedError(name, got, data, errorScale(layout, normOf));
        expect(error, name).toBeLessThan(1e-5);
      }
    });
  });
});

describe("ten steps with a moving average", () => {
  withNetwork(32, { ema: true }, (network) => {
    it("have PyTorch's averages of parameters and running statistics, and test them", async () => {
      await network().initialize("paper");
      const options = { rate: 0.1, emaRate: 1 - 0.9 };
      for (let step = 0; step < 10; step++) await network().run("last", step % 2, options);
      const { parameters, statistics } = network().compiled.ema!;
      const normOf = (name: string) => fixture(`ema/norm/${name}`).data[0]!;
      const values = new Map<string, Float32Array>();
      for (const layout of [...parameters, ...statistics]) {
        const { name, role } = layout;
        const { data } = fixture(`ema/projections/${name}`);
        const got = await network().read("state", layout);
        const scale = /^running/.test(role) ? normOf(name) : errorScale(layout, normOf);
        expect(projectedError(name, got, data, scale), name).toBeLessThan(1e-5);
        values.set(name, got);
      }
      expect(values.size).toBe(network().compiled.parameters.length + statistics.length);

      const [loss] = await network().run("evaluate-ema", 0);
      expect((await network().run("evaluate", 0))[0]).not.toBe(loss);
      for (const layout of network().compiled.parameters)
        await network().put("param", layout, values.get(layout.name)!);
      for (const layout of network().compiled.statistics)
        await network().put("state", layout, values.get(layout.name)!);
      expect((await network().run("evaluate", 0))[0]).toBe(loss);
    });
  });
});

describe("evaluation", () => {
  withNetwork(16, {}, (network) => {
    it("uses the running statistics and leaves label −1 out", async () => {
      await network().initialize("robust");
      const metrics = await network().run("evaluate", 100, { ignored: [3, 15] });
      const logits = await network().operand("evaluate", "softmax-cross-entropy", "logits");
      expect(relativeError(logits, fixture("evaluate/logits").data)).toBeLessThan(1e-5);
      const [loss, ...counts] = fixture("evaluate/metrics").data;
      expect(Math.abs(metrics[0]! / loss! - 1)).toBeLessThan(1e-5);
      expect([...metrics.slice(1)]).toEqual(counts);
      for (const layout of network().compiled.statistics.slice(0, 2)) {
        const before = await network().read("state", layout);
        await network().run("evaluate", 0);
        expect(await network().read("state", layout)).toEqual(before);
      }
    });
  });
});
