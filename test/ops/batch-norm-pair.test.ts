// Compares two batch norms in one pass to one after the other: the same bits in f32, alone and with the
// statistics of two ranks. That one after the other is right, test/ops/batch-norm.test.ts shows.
import { describe, expect, it } from "vitest";
import type { Device } from "../../lib/device/device.js";
import { gradient } from "../../lib/graph/autodiff.js";
import { evaluate } from "../../lib/graph/evaluate.js";
import type { Graph, Value } from "../../lib/graph/graph.js";
import { add, batchNorm, relu } from "../../lib/ops/index.js";
import { relativeError } from "../../proof/compare.js";
import { connectAll } from "../support/communicators.js";
import { deviceOf } from "../support/device.js";

type Type = "f32" | "bf16" | "f16";

/** A device without some of its kernels: fusion does without them. */
function without(device: Device, kernels: RegExp): Device {
  const operations = new Set([...device.operations].filter((op) => !kernels.test(op)));
  const rest: Partial<Device> = { operations, load: device.load.bind(device) };
  return rest as Device;
}

/** y = ReLU(norm(x) + norm(x2)), read twice, and all gradients. */
function block(g: Graph, dtype: Type, shape: readonly number[], size: number, rank: number) {
  let seed = rank;
  const draw = (of: readonly number[], type: Type, mean = 0) => {
    const length = of.reduce((a, b) => a * b, 1);
    const data = Float32Array.from({ length }, (_, i) => {
      const hash = Math.imul(i + 1 + 7919 * seed, 0x9e3779b1) >>> 8;
      return mean + hash / 2 ** 23 - 1;
    });
    seed += 2;
    return g.constant(data, of, type);
  };
  const channels = [shape[3]!];
  const vectors = () => ({
    gamma: draw(channels, "f32", 1.5),
    beta: draw(channels, "f32"),
    runningMean: draw(channels, "f32"),
    runningVariance: draw(channels, "f32", 2),
    group: { communicator: "statistics", size },
  });
  const [x, x2] = [draw(shape, dtype, 3), draw(shape, dtype, -2)];
  const [first, second] = [vectors(), vectors()];
  const residual = batchNorm(x2, second);
  const y = batchNorm(x, { ...first, residual, relu: true });
  const leaves = {
    x,
    gamma: first.gamma,
    beta: first.beta,
    x2,
    gamma2: second.gamma,
    beta2: second.beta,
  };
  const twice = add(relu(y), y);
  const gradients = gradient(g, twice, draw(shape, dtype), Object.values(leaves));
  const named = Object.keys(leaves).map((name, i): [string, Value] => [`d${name}`, gradients[i]!]);
  return { y: twice, ...Object.fromEntries(named) };
}

const sizes = [
  [3, 5, 7, 8],
  [2, 9, 5, 24],
  [2, 3, 2, 272],
];

/** Two roundings to these types: the shortcut's before it is added, the masked gradient's before it is summed. */
const tolerances = { bf16: 2 ** -7, f16: 2 ** -10 };

describe.each(["f32", "bf16", "f16"] as const)("%s", (dtype) => {
  const compare = (got: object, expected: object) => {
    for (const [name, data] of Object.entries(expected)) {
      const result = (got as Record<string, Float32Array>)[name]!;
      if (dtype === "f32") expect(result, name).toEqual(data);
      else expect(relativeError(result, data), name).toBeLessThan(tolerances[dtype]);
    }
  };

  it.each(sizes)("[%i, %i, %i, %i]", async (...shape) => {
    const build = (g: Graph) => block(g, dtype, shape, 1, 0);
    const device = deviceOf(0);
    const apart = await evaluate(without(device, /-pair$/), build);
    compare(await evaluate(device, build), apart);
  });

  it("synchronised over two ranks", async () => {
    const both = async (of: (rank: number) => Device) => {
      const ranks = await connectAll(2);
      return Promise.all(
        ranks.map((statistics, rank) =>
          evaluate(of(rank), (g) => block(g, dtype, [2, 3, 5, 16], 2, rank), {
            communicators: { statistics },
          }),
        ),
      );
    };
    const apart = await both((rank) => without(deviceOf(rank), /-pair$/));
    for (const [rank, got] of (await both(deviceOf)).entries()) compare(got, apart[rank]!);
  });
});
