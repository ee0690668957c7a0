// Runs `onehour train` and `onehour evaluate` as a user does: run folder, refusals, program texts.
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { logOf, recipeOf, temporaryFolder } from "../support/folder.js";
import { freePort, torchrun } from "../support/process.js";
import { firstChild, onehour, typed } from "./command.js";

const folder = temporaryFolder();
const small = ["--batch", "8", "--threads", "1", "--steps", "3"];

describe("a run", () => {
  const out = join(folder, "run");

  test("flags override the recipe, and recipe.json holds the resolved one", async () => {
    const recipe = join(folder, "recipe.ts");
    writeFileSync(
      recipe,
      "const n: number = 4;\nexport default { dataset: 'synthetic', batch: n, lr: 0.05, seed: 7 };\n",
    );
    const { status, stderr } = await onehour(["train", "--recipe", recipe, ...small, "--out", out]);
    expect(stderr).toBe("");
    expect(status).toBe(0);
    expect(recipeOf(out)).toMatchObject({
      dataset: "synthetic",
      batch: 8,
      lr: 0.05,
      seed: 7,
      steps: 3,
    });
    expect(existsSync(join(out, "checkpoint.safetensors"))).toBe(true);
  });
});

test("the paper's recipe goes by its name, and flags override it", async () => {
  const out = join(folder, "paper");
  const { status, stdout, stderr } = await onehour([
    ...["train", "synthetic:32x32x3:10:128", "--recipe", "goyal-2017", "--model", "resnet8"],
    ...["--batch", "16", "--minibatch", "64", "--steps", "1", "--threads", "1", "--out", out],
  ]);
  expect(stderr).toBe("");
  expect(status).toBe(0);
  expect(stdout).toMatch("minibatch 1 × 4 × 16 = 64, lr 0.1 × 64/256 = 0.025");
  expect(recipeOf(out)).toMatchObject({
    model: "resnet8",
    batch: 16,
    accumulate: 4,
    epochs: 90,
    lr: 0.1,
    warmup: "gradual",
    warmupEpochs: 5,
    milestones: [30, 60, 80],
    momentum: 0.9,
    nesterov: true,
    weightDecay: 1e-4,
    labelSmoothing: 0,
  });
});

test("SIGTERM saves and ends with status 143, SIGINT with 130, and --resume goes on", async () => {
  const out = join(folder, "interrupted");
  const first = await onehour(["train", "synthetic", "--threads", "1", "--out", out], {
    signal: { name: "SIGTERM", when: ({ stdout }) => stdout.includes(out) },
  });
  expect(first.stdout).toMatch(`${typed} train --resume --out ${out}`);
  expect(first.status).toBe(143);
  const again = ["train", "--resume", "--out", out];
  const second = await onehour(again, {
    signal: { name: "SIGINT", when: ({ stdout }) => stdout.includes(out) },
  });
  expect(second.status).toBe(130);
  const { steps } = logOf(out).at(-1) as { steps: number };
  const third = await onehour([...again, "--steps", String(steps + 1)]);
  expect(third.stderr).toBe("");
  expect(third.status).toBe(0);
});

test("--resume auto is one command for start and restart; no other word is a value of --resume", async () => {
  const out = join(folder, "auto");
  const flags = ["--threads", "1", "--batch", "8", "--out", out];
  const auto = (...words: string[]) => onehour(["train", ...words, ...flags]);
  const first = await auto("synthetic:12x12x1:4:64", "--steps", "1", "--resume", "auto");
  expect(first).toMatchObject({ status: 0, stderr: "" });
  expect(first.stdout).toMatch(`run folder: ${out}`);
  const second = await auto("--resume", "auto", "--steps", "2", "synthetic:12x12x1:4:64");
  expect(second.stdout).toMatch(`continuing ${out} after 1 step`);
  // A data set after the bare flag is the data set.
  const third = await auto("--resume", "synthetic:12x12x1:4:64", "--steps", "3");
  expect(third).toMatchObject({ status: 0, stderr: "" });
  expect(third.stdout).toMatch(`continuing ${out} after 2 steps`);
  const other = await auto("--resume", "synthetic:12x12x1:4:65");
  expect(other.stderr).toMatch(/dataset is "synthetic:12x12x1:4:64" in .*4:65" was asked for/);
  expect(other.status).toBe(2);
});

describe("a worker that fails", () => {
  const tiny = ["synthetic:12x12x1:4:256", "--workers", "2", "--batch", "8", "--threads", "1"];

  test("reports weights of another network in one line, without a stack", async () => {
    const init = join(folder, "weights.safetensors");
    writeFileSync(init, "\x02\0\0\0\0\0\0\0{}"); // a whole file of no tensors
    const { status, stderr } = await onehour([
      "train",
      ...tiny,
      "--init",
      init,
      "--out",
      `${init}-run`,
    ]);
    expect(stderr).toMatch(/^onehour: rank 0: [^\n]*weights\.safetensors[^\n]*\n$/);
    expect(status).toBe(1);
  });

  test("after a checkpoint is reported last, after the command that resumes", async () => {
    const out = join(folder, "goes-on");
    const { status, stdout, stderr } = await onehour(
      ["train", ...tiny, "--epochs", "1000", "--milestones", "none", "--out", out],
      {
        signal: {
          name: "SIGKILL",
          when: () => existsSync(join(out, "checkpoint.safetensors")),
          to: firstChild,
        },
      },
    );
    expect(status).toBe(1);
    expect(stdout.trimEnd().split("\n").at(-1)).toMatch(`${typed} train --resume --out ${out}`);
    expect(stderr).toMatch(/^onehour: rank 0: was killed \(SIGKILL\)[^\n]*\n$/);
  });
});

test("ranks that a launcher started refuse another number of workers without meeting", async () => {
  const { status, stderr } = await onehour(["train", "synthetic", "--workers", "3"], {
    env: torchrun(0, 9),
  });
  expect(stderr).toMatch(/^onehour: --workers: the launcher started 2 processes, not 3/);
  expect(status).toBe(2);
});

test("a signal to one rank ends all alike under torchrun's variables", async () => {
  const out = join(folder, "one-signalled");
  const port = await freePort();
  const rank = (index: number) => ({
    ...torchrun(index, port),
    ONEHOUR_TOKEN: "between us",
  });
  const run = ["train", "synthetic:12x12x1:4:256", "--threads", "1", "--epochs", "1000"];
  const recipe = [...run, "--batch", "8", "--milestones", "none", "--out", out];
  const first = onehour(recipe, { env: rank(0), readUntil: "epoch 2/" });
  const second = onehour(recipe, {
    env: rank(1),
    signal: { name: "SIGINT", when: () => existsSync(join(out, "checkpoint.safetensors")) },
  });
  for (const { status, stderr } of await Promise.all([first, second])) {
    expect(stderr).toBe("");
    expect(status).toBe(130);
  }
  expect(logOf(out).at(-1)).toMatchObject({ type: "end", status: "interrupted" });
});

test("--dump-program prints every program of the run and trains nothing", async () => {
  const out = join(folder, "dumped");
  const { status, stdout } = await onehour([
    ...["train", "synthetic", "--workers", "2", "--accumulate", "2", "--sync-bn"],
    ...["--out", out, "--dump-program", ...small],
  ]);
  expect(status).toBe(0);
  expect(existsSync(out)).toBe(false);
  const programs = stdout.split(/^onehour-program 1\n/m).slice(1);
  const names = programs.map((text) => /^name (\S+)$/m.exec(text)?.[1]);
  expect(names.sort()).toEqual(["average", "broadcast", "evaluate", "last", "micro"]);
  const line =
    /^(name \S+|arena \S+ \d+( slots=\d+)?|(compute|comm|statistics) \S+( \S+=\S+)*( \| .* -> .*)?( # .*)?|)$/;
  for (const text of programs) for (const each of text.split("\n")) expect(each).toMatch(line);
});
