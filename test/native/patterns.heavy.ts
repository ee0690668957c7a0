// Makes the plans of every pattern that the part `patterns` times, for an H100 that is only described: one for
// each filter size and stride of ResNet-50's convolutions, or, with ONEHOUR_ALL_PLANS=1 (npm run test:plans),
// for all of them. It shows which patterns have an engine, and says nothing about speed.
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, it } from "vitest";
import { stepSettings } from "../../lib/bench/settings.js";
import { usableCores } from "../../lib/device/cores.js";
import { book } from "../../lib/ops/book.js";
import { type ConvolutionShape, convolutionOf, shapesOf } from "../../proof/convolutions.js";
import { type PatternFinding, timePatterns } from "../../proof/cudnn-patterns.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const build = join(root, "build/cmake");
const all = process.env.ONEHOUR_ALL_PLANS === "1";
const minutes = 60_000;
const seconds = (all ? 80 : 15) * 60;

/** Whether a pattern of this convolution is known to have no engine for an H100, in any type. */
function hasNone({ stride }: ReturnType<typeof convolutionOf>, pattern: string): boolean {
  // The generic engine knows no prologue with sums in a fixed order, and none of this gradient.
  if (["prologue + forward + sums", "prologue + gradient of filters"].includes(pattern))
    return true;
  // It fails to compile.
  return pattern.startsWith("gradient of images + ReLU") && stride === 2;
}

function shapes(): ConvolutionShape[] {
  const settings = stepSettings({
    ...{ model: "resnet50", batch: 256, precision: "bf16" },
    ...{ device: "cuda", threads: 1 },
  } as const);
  const device = { operations: new Set(book.keys()), properties: { channelMultiple: 4 } };
  const found = shapesOf(device, settings);
  const kindOf = (shape: ConvolutionShape) => {
    const { filters, stride } = convolutionOf(shape);
    return `${filters[1]} ${stride}`;
  };
  return all
    ? found
    : found.filter((one, i) => found.findIndex((other) => kindOf(other) === kindOf(one)) === i);
}

it.skipIf(!existsSync(join(root, "build/Release/onehour_cuda.node")))(
  "cuDNN has an engine for each pattern but for those that are known",
  { timeout: 1000 * seconds + 5 * minutes },
  async () => {
    await promisify(execFile)("cmake", ["--build", build, "--target", "find_patterns"]);
    const wanted = shapes();
    const findings: PatternFinding[] = [];
    const description = join(root, "test/fixtures/devices/h100.json");
    await timePatterns(
      join(build, "find_patterns"),
      [String(usableCores()), String(seconds), description],
      wanted,
      (finding) => findings.push(finding),
    );
    const nameOf = ({ shape, type, pattern }: PatternFinding) =>
      `${wanted[shape]!.label}, ${type}: ${pattern}`;
    if (all)
      for (const finding of findings)
        console.log(`${nameOf(finding)}: ${finding.engine ?? finding.reason}`);
    const [known, others] = [true, false].map((none) =>
      findings.filter(
        ({ shape, pattern }) => hasNone(convolutionOf(wanted[shape]!), pattern) === none,
      ),
    );
    // Where one of these has an engine in another version of cuDNN, this list is shorter.
    expect(known!.filter(({ engine }) => engine !== null).map(nameOf)).toEqual([]);
    expect(others!.filter(({ engine }) => engine === null).map(nameOf)).toEqual([]);
    const inputs = wanted.filter((shape) => convolutionOf(shape).hasInputGradient).length;
    // In both types: 4 patterns of each and 7 that have to do with the input; of the chain, 1 and 3.
    expect(findings).toHaveLength(wanted.length * (2 * 4 + 1) + inputs * (2 * 7 + 3));
  },
);
