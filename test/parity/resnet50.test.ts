// Compares a step of ResNet-50 on 224×224 images to PyTorch in double precision. The fixture holds
// the norm and eight random projections of each gradient; weights and images come from the
// generator.
import { expect, it } from "vitest";
import { median } from "../../lib/arrays/median.js";
import { errorScale, projectedError, TestNetwork } from "../../proof/network.js";
import { lookup, readFixture } from "../../proof/ops/fixtures.js";
import { device } from "../support/device.js";

const fixture = lookup(readFixture("resnet50", "step/"));
const normOf = (name: string) => fixture(`norm/${name}`).data[0]!;

it("a step in fp32 has the oracle's loss, gradients and running statistics", async () => {
  const network = await TestNetwork.load(device, "resnet50", 4);
  try {
    await network.initialize("robust");
    const [loss] = await network.run("last", 0);
    expect(Math.abs(loss! / fixture("loss").data[0]! - 1)).toBeLessThan(1e-5);

    const errors: number[] = [];
    for (const layout of network.compiled.parameters) {
      const { name } = layout;
      const { data } = fixture(`projections/${name}`);
      const got = await network.read("grad", layout);
      errors.push(projectedError(name, got, data, errorScale(layout, normOf)));
      expect(errors.at(-1), name).toBeLessThan(2e-3);
    }
    expect(errors.length).toBe(161);
    expect(median(errors)).toBeLessThan(1e-4);

    for (const layout of network.compiled.statistics) {
      const { name } = layout;
      const got = await network.read("state", layout);
      const error = projectedError(name, got, fixture(`projections/${name}`).data, normOf(name));
      expect(error, name).toBeLessThan(1e-5);
    }
  } finally {
    network.dispose();
  }
});
