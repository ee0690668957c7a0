// Runs the lines of docs/pytorch.md in PyTorch on a run's checkpoint: they count as many correct images as
// `onehour evaluate`.
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
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

/** What a script of these lines prints, run where the folder `runs` is. */
async function printed(cwd: string, ...lines: string[]): Promise<string> {
  const script = join(cwd, "script.py");
  writeFileSync(script, lines.join("\n"));
  const env = { PYTHONPATH: [join(root, "examples"), process.env.PYTHONPATH].join(":") };
  const { status, stdout, stderr } = await start([python, script], { cwd, env }).ended;
  expect(status, stderr).toBe(0);
  return stdout.trim();
}

/** Trains a model by the name of a folder, and returns that. */
async function trained(model: string, out: string, dataset: string, ...flags: string[]) {
  const cwd = join(folder, model);
  mkdirSync(cwd);
  const words = ["--model", model, "--threads", "1", "--device", "cpu", "--out", out, ...flags];
  const run = await onehour(["train", dataset, ...words], { cwd });
  expect(run.status, run.stderr).toBe(0);
  return cwd;
}

test("each of its loading examples takes ten lines", () => {
  expect(blocks).toHaveLength(5);
  for (const code of [load, loadTorchvision])
    expect(code.split("\n").filter(Boolean).length).toBeLessThanOrEqual(10);
});

test.runIf(has("torch", "safetensors")).each(["resnet6", "resnet8", "resnet20"])(
  "the counts of %s and of its moving average are those of evaluate",
  async (model) => {
    const flags = ["--batch", "32", "--epochs", "1", "--steps", "40", "--ema-decay", "0.9"];
    const cwd = await trained(model, "runs/first", "fashion-mnist", ...flags, "--lr", "0.8");
    const counts: string[] = [];
    for (const flag of [[], ["--ema"]]) {
      const { stdout } = await onehour(["evaluate", "runs/first", ...flag], { cwd });
      const [, correct] = /\(([\d,]+) correct, 10,000 of/.exec(stdout)!;
      counts.push(`${correct!.replaceAll(",", "")} correct of 10000`);
    }
    expect(await printed(cwd, load, count, average, count)).toBe(counts.join("\n"));
    expect(counts[0]).not.toBe(counts[1]);
  },
);

test.runIf(has("torch", "safetensors", "torchvision"))(
  "a checkpoint fits torchvision's network, and an image is prepared as in evaluation",
  async () => {
    const flags = ["--batch", "4", "--steps", "1"];
    const cwd = await trained("resnet18", "runs/imagenet", "synthetic:64x64x3:5:32", ...flags);
    const shape = `from PIL import Image\nprint(prepare(Image.new("RGB", (90, 80))).shape)`;
    expect(await printed(cwd, loadTorchvision, prepare, shape)).toBe("torch.Size([3, 64, 64])");
  },
);
