// Compares loss scaling with PyTorch's GradScaler over steps of which some are skipped.
import { describe, expect, it } from "vitest";
import { f16FromFloat32, float32FromF16, type Value } from "../../lib/graph/graph.js";
import { clipNorm, lossScale, norms, sgd } from "../../lib/ops/index.js";
import { norm, relativeError } from "../../proof/compare.js";
import { lookup, readFixture } from "../../proof/ops/fixtures.js";
import { type Results, run } from "../support/run.js";

const fixture = lookup(readFixture("grad-scaler"));
const [steps, length] = fixture("g").shape as [number, number];
const ofStep = (name: string, step: number, width = length) =>
  fixture(name).data.slice(step * width, (step + 1) * width) as Float32Array;
const rates = fixture("rates").data as Float32Array;

/** What the filters' gradients are where back-propagation overflows at a scale. */
const scaled = (g: Float32Array, scale: number) =>
  float32FromF16(f16FromFloat32(g.map((x) => x * scale)));

/** One update of all tensors as one, from the state before it. */
function step(
  state: Results,
  gradient: Float32Array,
  rate: readonly [number, number],
  form: "gradient" | "velocity",
): Promise<Results> {
  return run((graph) => {
    const constant = (data: Float32Array) => graph.constant(data, [data.length]);
    const [w, v, scaling, g] = [state.w!, state.v!, state.scaling!, gradient].map(constant);
    const rows = norms(w!, g!, [length]);
    const { factor } = lossScale(rows, scaling!, 3);
    const { finite, ...written } = sgd(
      { w: w!, g: g!, v: v!, schedule: constant(Float32Array.from(rate)) },
      {
        ...{ form, nesterov: true, momentum: 0.9, segments: [{ length, decay: 0.01 }] },
        ...{ factor, zero: true, copy: "f16" },
      },
    );
    return { ...written, scaling: scaling!, finite, rows } as Record<string, Value>;
  });
}

describe.each(["gradient", "velocity"] as const)("SGD in the %s form", (form) => {
  it("has GradScaler's scale, parameters and momentum after each step", async () => {
    let state: Results = {
      w: fixture("start").data as Float32Array,
      v: new Float32Array(length),
      scaling: Float32Array.of(2 ** 20, 0, 0),
    };
    for (let i = 0; i < steps; i++) {
      const rate = rates[i]!;
      const correction = form === "velocity" && i > 0 ? rate / rates[i - 1]! : 1;
      const g = scaled(ofStep("g", i), state.scaling![0]!);
      const before = state;
      state = await step(before, g, [rate, correction], form);
      expect([...state.scaling!], `step ${i}`).toEqual([...ofStep("scaling", i, 3)]);
      const isSkipped = state.scaling![2] !== before.scaling![2];
      expect(state.finite![0]! > 0).toBe(isSkipped);
      if (isSkipped) expect(state.w).toEqual(before.w);
      expect(state.g!.every((x) => x === 0)).toBe(true);
      expect(state.copy).toEqual(float32FromF16(f16FromFloat32(state.w!)));
      expect(relativeError(state.w!, ofStep("w", i))).toBeLessThan(1e-6);
      // v of the velocity form is η·u, in a step that is skipped too.
      const u = form === "velocity" ? state.v!.map((x) => x / rate) : state.v!;
      const expected = ofStep("u", i);
      expect(relativeError(u, expected, norm(expected) || 1)).toBeLessThan(1e-6);
    }
    expect(state.scaling![2]).toBeGreaterThan(5);
  });
});

describe("the norms of a scaled gradient", () => {
  const gradient = Float32Array.from({ length: 5000 }, (_, i) => Math.sin(i * i));
  const lengths = [37, 4000, 963];
  const clipped = (scale: number) =>
    run((graph) => {
      const constant = (data: Float32Array) => graph.constant(data, [data.length]);
      const g = constant(gradient.map((x) => x * scale));
      const rows = norms(constant(gradient), g, lengths);
      const { norms: own, factor } = lossScale(rows, constant(Float32Array.of(scale, 0, 0)));
      return { ...clipNorm(g, own, 2), factor };
    });

  it("are those of the gradient, which is clipped by them, bit for bit", async () => {
    const [plain, large] = [await clipped(1), await clipped(2 ** 20)];
    expect(large.norms).toEqual(plain.norms);
    expect(large.g!.map((x) => x * large.factor![0]!)).toEqual(plain.g);
  });

  it("stay as they are where the step is skipped, and the scale never becomes 0", async () => {
    const least = Float32Array.of(2 ** -126, 5, 7);
    const { rows, scaling, factor } = await run((graph) => {
      const constant = (data: Float32Array, shape: number[]) => graph.constant(data, shape);
      const rows = constant(Float32Array.of(1, 4, 0, 1, 9, 2), [2, 3]);
      const scaling = constant(least, [3]);
      return { rows, scaling, factor: lossScale(rows, scaling).factor };
    });
    expect([...rows!]).toEqual([1, 4, 0, 1, 9, 2]);
    expect([...scaling!]).toEqual([2 ** -126, 0, 8]);
    expect([...factor!]).toEqual([0]);
  });
});
