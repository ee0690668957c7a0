// Checks what the SGD update writes in addition to the parameters and the momentum.
import { describe, expect, it } from "vitest";
import { bf16FromFloat32, float32FromBf16 } from "../../lib/graph/graph.js";
import { sgd } from "../../lib/ops/index.js";
import { run } from "../support/run.js";

describe("sgd", () => {
  const update = (gradient: Float32Array, zero: boolean) => {
    const { length } = gradient;
    return run((g) => {
      const { w, v, ...rest } = sgd(
        {
          w: g.constant(
            Float32Array.from({ length }, (_, i) => i / 7 - 4),
            [length],
          ),
          g: g.constant(gradient, [length]),
          v: g.constant(new Float32Array(length), [length]),
          schedule: g.constant(Float32Array.of(0.1, 1), [2]),
        },
        {
          form: "gradient",
          nesterov: false,
          momentum: 0.9,
          segments: [{ length, decay: 1e-4 }],
          zero,
          copy: "bf16",
        },
      );
      return { w, v, ...rest };
    });
  };

  it("clears the gradient where asked to and copies the new weights to bf16", async () => {
    const gradient = Float32Array.from({ length: 67 }, (_, i) => Math.sin(i));
    const { w, g, copy, finite } = await update(gradient, true);
    expect([...finite!]).toEqual([0]);
    expect(g!.every((value) => value === 0)).toBe(true);
    expect(copy).toEqual(float32FromBf16(bf16FromFloat32(w!)));
    expect((await update(gradient, false)).g).toBeUndefined();
  });

  it("counts the elements of the gradient that are not finite", async () => {
    const gradient = new Float32Array(50_007).fill(1); // enough for several threads
    gradient[3] = Number.NaN;
    gradient[30_000] = Number.NEGATIVE_INFINITY;
    gradient[50_006] = Number.POSITIVE_INFINITY;
    expect([...(await update(gradient, false)).finite!]).toEqual([3]);
  });
});
