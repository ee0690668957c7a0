// Runs the lines of docs/pytorch.md in PyTorch on a run's checkpoint: they count as many correct images as
// `onehour evaluate`.
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { onehour } from "../cli/command.js";
import { temporaryFolder } from "../support/folder.js";
import { start } from "../support/process.js";
import { read, root } from "./pages.js";

const python = process.env.ONEHOUR_PYTHON || "python3";
const folder = temporaryFolder();

/** Whether Python has the modules; those that are missing are told of. */
function has(...modules: string[]): boolean {
  const { status } = spawnSync(python, ["-c", `import ${modules}`], { stdio: "ignore" });
  if (status !== 0) console.log(`left out: ${python} lacks one of ${modules.join(", ")}`);
  return status === 0;
}

const blocks = [...read("docs/pytorch.md").matchAll(/```python\n([\s\S]*?)```/g)].map(
  ([, code]) => code!,
);
const [load, count, average, loadTorchvision, prepare] = blocks as [
  string,
  string,
  string,
  string,
  string,
];

/** What a script of these lines prints, run in the folder that holds `runs`. */
async function printed(...lines: string[]): Promise<string> {
  const script = join(folder, "script.py");
  writeFileSync(script, lines.join("\n"));
  const env = { PYTHONPATH: [join(root, "examples"), process.env.PYTHONPATH].join(":") };
  const { status, stdout, stderr } = await start([python, script], { cwd: folder, env }).ended;
  expect(status, stderr).toBe(0);
  return stdout.trim();
}

async function train(out: string, dataset: string, ...flags: string[]): Promise<void> {
  const words = ["--threads", "1", "--device", "cpu", "--out", `runs/${out}`, ...flags];
  const run = await onehour(["train", dataset, ...words], { cwd: folder });
  expect(run.status, run.stderr).toBe(0);
}

test("each of its loading examples takes ten lines", () => {
  expect(blocks).toHaveLength(5);
  for (const code of [load, loadTorchvision])
    expect(code.split("\n").filter(Boolean).length).toBeLessThanOrEqual(10);
});

describe.runIf(has("torch", "safetensors"))("a network for small images", () => {
  const flags = ["--batch", "64", "--lr", "0.4", "--epochs", "1", "--steps", "60"];
  beforeAll(() => train("first", "fashion-mnist", "--ema-decay", "0.9", ...flags), 300_000);

  test.each([
    { which: "the weights", lines: [load, count], flag: [] },
    { which: "the moving average", lines: [load, average, count], flag: ["--ema"] },
  ])("$which: the count is that of evaluate", async ({ lines, flag }) => {
    const { stdout } = await onehour(["evaluate", "runs/first", ...flag], { cwd: folder });
    const [, correct] = /\(([\d,]+) correct, 10,000 of/.exec(stdout)!;
    expect(await printed(...lines)).toBe(`${correct!.replaceAll(",", "")} correct of 10000`);
  });
});

describe.runIf(has("torch", "safetensors", "torchvision"))("torchvision's networks", () => {
  test("a checkpoint fits, and an image is prepared as in evaluation", async () => {
    const flags = ["--model", "resnet18", "--batch", "4", "--steps", "1"];
    await train("imagenet", "synthetic:64x64x3:5:32", ...flags);
    const shape = `from PIL import Image\nprint(prepare(Image.new("RGB", (90, 80))).shape)`;
    expect(await printed(loadTorchvision, prepare, shape)).toBe("torch.Size([3, 64, 64])");
  });
});
