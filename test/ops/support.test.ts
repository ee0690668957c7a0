// Which instructions the device has kernels for.
import { describe, expect, it } from "vitest";
import * as batchNorm from "../../lib/ops/batch-norm.js";
import * as collective from "../../lib/ops/collective.js";
import * as conv from "../../lib/ops/conv.js";
import * as elementwise from "../../lib/ops/elementwise.js";
import * as linear from "../../lib/ops/linear.js";
import * as loss from "../../lib/ops/loss.js";
import * as pool from "../../lib/ops/pool.js";
import * as sgd from "../../lib/ops/sgd.js";
import { device } from "../support/device.js";

const families = { batchNorm, collective, conv, elementwise, linear, loss, pool, sgd };
/** Instructions that only fusion makes, where a backend has them. */
const optional = new Set(["conv2d-statistics"]);

describe.each(Object.entries(families))("%s", (_, family) => {
  const ops = Object.values(family as Record<string, unknown>).flatMap((value) =>
    typeof value === "object" && value !== null && "signature" in value && "name" in value
      ? [String(value.name)]
      : [],
  );

  it.each(ops)("%s", (name) => {
    if (!optional.has(name)) expect([...device.operations]).toContain(name);
  });
});

it("an op without a kernel is refused when the program is loaded, with its line", async () => {
  const text = [
    "onehour-program 1",
    "name broken",
    ...["param", "weight", "grad", "state", "temp"].map((arena) => `arena ${arena} 0`),
    "arena input 64 slots=1",
    "arena output 64 slots=1",
    "compute hyperbolic-tangent | x=input+0:f32[4] -> y=output+0:f32[4]",
    "",
  ].join("\n");
  await expect(device.load([{ name: "broken", text }])).rejects.toMatchObject({
    code: "ERR_KERNEL",
    line: 10,
    message: expect.stringContaining("hyperbolic-tangent"),
  });
});
