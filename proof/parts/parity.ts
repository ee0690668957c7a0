// Proves that a network learns on the device what it learns on the CPU: loss and gradients of a step of
// ResNet-8 and of ResNet-50 from the parity tests' weights, and the losses of ten steps.
import { median } from "#lib/arrays/median.js";
import { defaultThreads } from "#lib/device/cores.js";
import type { Device } from "#lib/device/device.js";
import { openBackend } from "#lib/device/open.js";
import { norm, relativeError } from "../compare.js";
import { errorScale, type NetworkOptions, TestNetwork } from "../network.js";
import { type Report, runPart } from "../results/report.js";

type Precision = "fp32" | "tf32" | "bf16";

type Name = "resnet8" | "resnet50";

/** Allowed errors against the CPU in fp32. */
interface Tolerance {
  loss: number;
  /** Of a parameter's gradient, relative to its norm: the worst, and the median. */
  worst: number;
  median: number;
}

/** Twice what the parity tests allow against double precision, since both sides have an error. */
const exact: Tolerance = { loss: 2e-5, worst: 4e-3, median: 2e-4 };

/**
 * What roundings to bf16 do to a step grows with the depth (a median of 3 % of a gradient in ResNet-8,
 * of 14 % in ResNet-50 with 64×64 images), so the measure is what the CPU's own bf16 does to the same
 * step: half as much again. tf32 rounds operands alone, to 2⁻¹¹ where bf16 rounds to 2⁻⁹: a quarter of
 * that. The loss is one number, whose error may happen to be none, so its limits are set by depth.
 */
function toleranceOf(precision: Precision, name: Name, own: Errors): Tolerance {
  if (precision === "fp32") return exact;
  const share = precision === "tf32" ? 0.25 : 1;
  const loss = share * (name === "resnet50" ? 5e-3 : 1e-3);
  return { loss, worst: share * 1.5 * own.worst, median: share * 1.5 * own.median };
}

/** Of each loss of ten steps of ResNet-8, in which errors grow from step to step. */
const lossTolerance: Record<Precision, number> = { fp32: 2e-5, tf32: 2.5e-4, bf16: 1e-3 };

/** A step's loss and gradients by parameter. */
async function step(device: Device, name: Name, batch: number, options: NetworkOptions) {
  const network = await TestNetwork.load(device, name, batch, options);
  try {
    await network.initialize("robust");
    const [loss] = await network.run("last", 0);
    const gradients = new Map<string, Float32Array>();
    for (const layout of network.compiled.parameters)
      gradients.set(layout.name, await network.read("grad", layout));
    return { loss: loss!, gradients, parameters: network.compiled.parameters };
  } finally {
    network.dispose();
  }
}

type Step = Awaited<ReturnType<typeof step>>;

/** How far a step is from the one that is expected. */
interface Errors extends Tolerance {
  gradients: { name: string; error: number }[];
}

function errorsOf(got: Step, expected: Step): Errors {
  const normOf = (parameter: string) => norm(expected.gradients.get(parameter)!);
  const gradients = expected.parameters.map((layout) => {
    const { name } = layout;
    const [a, b] = [got.gradients.get(name)!, expected.gradients.get(name)!];
    return { name, error: relativeError(a, b, errorScale(layout, normOf)) };
  });
  const errors = gradients.map(({ error }) => error);
  return {
    loss: Math.abs(got.loss / expected.loss - 1),
    worst: Math.max(...errors),
    median: median(errors),
    gradients,
  };
}

function compareSteps(report: Report, name: string, errors: Errors, tolerance: Tolerance): void {
  report.atMost(`${name}: loss`, errors.loss, tolerance.loss);
  for (const { name: parameter, error } of errors.gradients)
    report.atMost(`${name}: gradient of ${parameter}`, error, tolerance.worst);
  report.atMost(`${name}: median gradient`, errors.median, tolerance.median);
  const percent = (error: number) => `${(100 * error).toPrecision(2)} %`;
  report.note(
    `${name}: loss off by ${percent(errors.loss)}, gradients by ${percent(errors.median)} in the ` +
      `median (at most ${percent(tolerance.median)}), ${percent(errors.worst)} in the worst case ` +
      `(at most ${percent(tolerance.worst)})`,
  );
  report.record(name, { loss: errors.loss, worst: errors.worst, median: errors.median, tolerance });
}

/** Losses of ten steps of ResNet-8 on two batches in turn. */
async function losses(device: Device, precision: Precision): Promise<number[]> {
  const network = await TestNetwork.load(device, "resnet8", 32, { precision });
  try {
    await network.initialize("paper");
    const result: number[] = [];
    for (let i = 0; i < 10; i++) result.push((await network.run("last", i % 2))[0]!);
    return result;
  } finally {
    network.dispose();
  }
}

await runPart("parity", async (report) => {
  using device = report.open();
  using reference = openBackend("cpu", defaultThreads());
  const { small, device: module } = report.settings;
  // The CPU's kernels, which the emulated device has too, compute tf32 as fp32.
  const precisions: Precision[] = module === "cuda" ? ["fp32", "tf32", "bf16"] : ["fp32", "bf16"];
  const cases: { name: Name; batch: number; options: NetworkOptions }[] = [
    { name: "resnet8", batch: 8, options: {} },
    {
      name: "resnet50",
      batch: 4,
      options: small ? { images: { height: 64, width: 64, channels: 3 } } : {},
    },
  ];
  for (const { name, batch, options } of cases) {
    const expected = await step(reference, name, batch, options);
    const low = await step(reference, name, batch, { ...options, precision: "bf16" });
    const own = errorsOf(low, expected);
    for (const precision of precisions) {
      const got = await step(device, name, batch, { ...options, precision });
      const tolerance = toleranceOf(precision, name, own);
      compareSteps(report, `${name} ${precision}`, errorsOf(got, expected), tolerance);
    }
  }

  const expected = await losses(reference, "fp32");
  for (const precision of precisions) {
    const got = await losses(device, precision);
    const errors = got.map((loss, i) => Math.abs(loss / expected[i]! - 1));
    errors.forEach((error, i) => {
      report.atMost(`ten steps ${precision}: loss ${i}`, error, lossTolerance[precision]);
    });
    report.note(
      `ten steps ${precision}: losses off by ${Math.max(...errors).toExponential(1)} at most`,
    );
    report.record(`losses ${precision}`, got);
  }
});
