// The forms in which the convolutions of a step are timed.
import { expect, it } from "vitest";
import { stepSettings } from "../../lib/bench/settings.js";
import { book } from "../../lib/ops/book.js";
import { formsOf, shapesOf } from "../../proof/convolutions.js";

it("times the 23 convolutions of ResNet-50 in the forms that there are kernels for", () => {
  const settings = stepSettings({
    ...{ model: "resnet50", batch: 4, precision: "bf16" },
    ...{ device: "cuda", threads: 1 },
  } as const);
  const shapes = shapesOf(
    { operations: new Set(book.keys()), properties: { channelMultiple: 4 } },
    settings,
  );
  expect(shapes.length).toBe(23);
  expect(shapes.reduce((sum, { count }) => sum + count, 0)).toBe(53);
  const forms = (label: string) =>
    shapes
      .find((shape) => shape.label === label)!
      .lines.flatMap(formsOf)
      .map(({ op }) => op)
      .sort();
  const parts = ["batch-norm-finalize", "batch-norm-statistics", "conv2d"];
  const filters = ["conv2d-backward-weight", "conv2d-backward-weight-rounded"];
  const whole = ["conv2d-backward-data", ...filters, "conv2d-moments"];
  expect(forms("3×3, 56×56×128 to 28×28×128")).toEqual([...parts, ...whole, "copy"]);
  expect(forms("1×1, 56×56×64 to 56×56×256")).toEqual([
    ...parts,
    ...whole,
    "copy",
    "linear-backward-data",
  ]);
});
