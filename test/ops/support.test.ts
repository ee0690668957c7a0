// Refuses an instruction for which the device has no kernel.
import { expect, it } from "vitest";
import { device } from "../support/device.js";
import { commonOps } from "../support/op-book.js";

it.each([...commonOps])("%s", (name) => expect([...device.operations]).toContain(name));

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
