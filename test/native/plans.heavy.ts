// Finds cuDNN plans for the residual networks' convolutions on GPUs given by their descriptions:
// one for each pattern, filter size, stride and precision, or, with ONEHOUR_ALL_PLANS=1 (npm run
// test:plans), for all convolutions of four networks on two GPUs. It shows that plans exist and
// says nothing about speed.
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import type { Precision } from "../../lib/graph/compile.js";
import { book } from "../../lib/ops/book.js";
import { compileFor, modelOf } from "../graph/options.js";
import { build, minutes, root, run } from "../support/cuda.js";
import { temporaryFolder } from "../support/folder.js";

const all = process.env.ONEHOUR_ALL_PLANS === "1";

/** Lines of convolutions, and what else a program needs. */
function convolutions(name: string, precision: Precision, batch: number) {
  const model = modelOf(name);
  const operations = new Set(book.keys());
  const { programs } = compileFor(model, { precision, batch, operations, channelMultiple: 4 });
  const lines = programs.find((program) => program.name === "last")!.text.split("\n");
  return {
    header: lines.filter((line) => /^(onehour-program|name|arena) /.test(line)),
    lines: lines.filter((line) => /^\w+ conv2d/.test(line)),
  };
}

/** The first line of each op with each filter size, stride and whether its channels are in groups. */
function firstOfEachKind(lines: string[]): string[] {
  const kinds = new Map<string, string>();
  for (const line of lines) {
    const [op, stride, groups] = [/ (conv2d\S*)/, / stride=(\S+)/, / groups=(\S+)/].map(
      (part) => part.exec(line)?.[1],
    );
    const filter = / d?w=[^[]*\[\d+,(\d+,\d+),/.exec(line)![1];
    const kind = `${op} ${stride} ${filter} ${groups}`;
    if (!kinds.has(kind)) kinds.set(kind, line);
  }
  return [...kinds.values()];
}

const precisions = ["fp32", "tf32", "bf16"] as const;
const networks = { resnet8: 128, resnet18: 256, resnet50: 256, resnext50_32x4d: 128 };
/** Lines that ResNet-50 has no kind of. */
const isGrouped = (line: string) => / groups=/.test(line);

describe.skipIf(!existsSync(join(root, "build/Release/onehour_cuda.node")))("cuDNN's plans", () => {
  const folder = temporaryFolder();

  beforeAll(async () => {
    await run("cmake", ["--build", build, "--target", "find_plans"]);
  }, 5 * minutes);

  /** Files with the programs to find plans for. */
  function programs(precision: Precision): string[] {
    return Object.entries(networks).flatMap(([name, batch]) => {
      if (!all && name === "resnet18") return [];
      const { header, lines } = convolutions(name, precision, batch);
      const path = join(folder, `${name}-${precision}.txt`);
      const own = name.startsWith("resnext") ? lines.filter(isGrouped) : lines;
      const text = [...header, ...(all ? lines : firstOfEachKind(own))];
      writeFileSync(path, `${text.join("\n")}\n`);
      return [path];
    });
  }

  // Compiling a plan takes one core some seconds, so two precisions go side by side.
  const devices = all ? ["h100", "a100"] : ["h100"];
  it.concurrent.each(
    devices.flatMap((device) => precisions.map((precision) => ({ device, precision }))),
  )(
    "$precision on $device",
    { timeout: (all ? 90 : 10) * minutes },
    async ({ device, precision }) => {
      const description = join(root, `test/fixtures/devices/${device}.json`);
      const { stdout } = await run(join(build, "find_plans"), [
        description,
        "1", // thread: several precisions go side by side
        ...programs(precision),
      ]);
      if (all) console.log(`${precision} on ${device}\n${stdout}`);
      expect(stdout).toMatch(/^[1-9]\d* graphs, 0 without a plan$/m);
    },
  );
});
