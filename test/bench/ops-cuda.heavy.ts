// Runs `onehour bench ops --traffic --device cuda` without a GPU: the CUDA module alone knows which
// kernels it has.
import { expect, test } from "vitest";
import type { OpsResult } from "../../lib/bench/ops.js";
import { onehour } from "../cli/command.js";
import { tellWithoutCuda, withoutCuda } from "../support/cuda.js";

tellWithoutCuda("test/bench/ops-cuda.heavy.ts");

const sum = (numbers: number[]) => numbers.reduce((total, number) => total + number, 0);

test.skipIf(withoutCuda !== undefined)("--traffic counts a GPU's step without a GPU", async () => {
  const { status, stdout, stderr } = await onehour([
    ...["bench", "ops", "--model", "resnet8", "--batch", "2", "--device", "cuda"],
    ...["--traffic", "--json"],
  ]);
  expect(stderr).toBe("");
  expect(status).toBe(0);
  const { settings, device, lines }: OpsResult = JSON.parse(stdout);
  expect({ settings, device }).toMatchObject({ settings: { precision: "bf16" }, device: "cuda" });
  expect(lines.filter(({ bytes }) => !(bytes > 0))).toEqual([]);
  const bytesOf = (name: string) => sum(lines.filter(({ op }) => op === name).map((l) => l.bytes));
  // 2 images of 28×28: a byte a pixel and one for the flip; one channel of bf16 is padded to four.
  const [pixels, flips] = [2 * 28 * 28, 2];
  expect(bytesOf("normalize-input")).toBe(pixels + flips + 4 * pixels * 2);
  expect(lines.filter(({ op }) => op === "conv2d-moments").length).toBe(9);
});

test.skipIf(withoutCuda !== undefined)(
  "a step of ResNet-50 starts at most 420 kernels and moves at most 310 MB an image",
  async () => {
    const { status, stdout } = await onehour([
      ...["bench", "ops", "--model", "resnet50", "--batch", "256", "--device", "cuda", "--traffic"],
    ]);
    expect(status).toBe(0);
    const [, kernels, megabytes] = /^ *\d+ +(\d+) +([\d.]+) +all$/m.exec(stdout)!;
    expect(Number(kernels)).toBeLessThanOrEqual(420);
    expect(Number(megabytes)).toBeLessThanOrEqual(310);
  },
);
