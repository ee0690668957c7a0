// `onehour train`: resolves flags and recipe file into one recipe and trains it.
import { Command } from "commander";
import { signalStatus } from "../ranks/signals.js";
import type { RecipeInput } from "../recipe/recipe.js";
import { printResult } from "../system/output.js";
import { commandLine, resumeCommand } from "../text/command.js";
import { readRecipe } from "./recipe.js";
import { toNumber, toNumbers, usageError } from "./values.js";

interface Extras {
  recipe?: string;
  resume?: true;
  dumpProgram?: true;
}

/** Flags whose recipe field has another name than commander gives them. */
const fields: Record<string, keyof RecipeInput> = {
  syncBn: "syncBatchNorm",
  preciseBn: "preciseBatchNorm",
};

/** What the bare flags of these fields stand for. */
const bare: { [Field in keyof RecipeInput]?: RecipeInput[Field] } = {
  syncBatchNorm: -1, // all ranks
  preciseBatchNorm: -1, // 200, or an epoch's
};

/** Flags that are no part of a recipe. */
const extras: ReadonlySet<string> = new Set(["recipe", "resume", "dumpProgram"]);

export function trainCommand(): Command {
  return new Command("train")
    .description("Train a network with k synchronous workers.")
    .argument(
      "[dataset]",
      "fashion-mnist[:folder], synthetic[:HxWxC:classes] or a folder with train/ and val/",
    )
    .option(
      "--model <name>",
      "resnet8/20/32/56 (small images) or resnet18/34/50/101/152; default: resnet8 or resnet50",
    )
    .option("--workers <k>", "worker processes; default: one a GPU, or 1", toNumber)
    .option("--batch <n>", "images per worker and micro-batch; default: 32", toNumber)
    .option("--accumulate <a>", "micro-batches per step; default: 1", toNumber)
    .option("--minibatch <kn>", "images of a step, instead of accumulate", toNumber)
    .option("--epochs <E>", "may be fractional; default: the data set's", toNumber)
    .option("--steps <S>", "end after this many steps in all", toNumber)
    .option(
      "--lr <rate>",
      "learning rate at 256 images, the peak is lr·kn/256; default: 0.1",
      toNumber,
    )
    .option(
      "--warmup <gradual|constant|none>",
      "from lr to the peak, if kn > 256; default: gradual",
    )
    .option("--warmup-epochs <E>", "length of the warm-up; default: 5", toNumber)
    .option(
      "--milestones <E,...|none>",
      "epochs that divide the rate by 10; default: 1/3, 2/3 and 8/9 of all",
      toNumbers,
    )
    .option("--momentum <m>", "default: 0.9", toNumber)
    .option("--momentum-form <gradient|velocity>", "what the momentum adds up; default: gradient")
    .option("--no-momentum-correction", "velocity form: ignore changes of the rate")
    .option("--no-nesterov", "plain momentum")
    .option("--weight-decay <λ>", "on all but batch norm's parameters; default: 1e-4", toNumber)
    .option("--label-smoothing <s>", "share of the target for all classes; default: 0", toNumber)
    .option("--sync-bn [g]", "batch norm over all ranks, or groups of g", toNumber)
    .option(
      "--precise-bn [B]",
      "statistics of B batches for evaluation; bare: 200, or an epoch's",
      toNumber,
    )
    .option("--precision <fp32|tf32|bf16>", "default: fp32 on the CPU, bf16 on a GPU")
    .option("--device <auto|cpu|cuda>", "where to compute; default: auto")
    .option("--no-cuda-graph", "start a GPU's kernels one by one")
    .option("--threads <T>", "CPU threads per worker; default: cores / workers", toNumber)
    .option("--seed <s>", "of initial weights, order and augmentation; default: 0", toNumber)
    .option("--no-augment", "train on the images as they are")
    .option(
      "--image-size <pixels>",
      "both sides of an image folder's images; default: 224",
      toNumber,
    )
    .option(
      "--color-jitter <j>",
      "change an image folder's colors by up to j; default: 0",
      toNumber,
    )
    .option("--strict", "end the run at the first damaged image of a folder")
    .option("--no-strict", "replace damaged images, as is usual, in a run begun with --strict")
    .option("--init <file>", "start from the weights of a checkpoint, or of torchvision")
    .option("--recipe <name|file>", "goyal-2017, a .json or a .ts; flags override it")
    .option(
      "--checkpoint-minutes <N>",
      "between checkpoints within an epoch; default: 10",
      toNumber,
    )
    .option("--out <folder>", "run folder; default: runs/<dataset>-<model>-<date>")
    .option("--resume", "continue the run in --out from its last checkpoint")
    .option("--timeout <seconds>", "stop when a worker makes no progress; default: 60", toNumber)
    .option("--dump-program", "print the programs of the run and exit")
    .action(async (dataset: string | undefined, options: Extras, command: Command) => {
      const { overrideRecipe } = await import("../recipe/recipe.js");
      const recipe = overrideRecipe(
        options.recipe === undefined ? {} : await readRecipe(options.recipe),
        { ...explicitFlags(command), ...(dataset === undefined ? {} : { dataset }) },
      );
      if (recipe.dataset === undefined && !options.resume)
        throw usageError(
          `train needs a dataset, for example: ${commandLine("train", "fashion-mnist")}`,
        );
      if (options.resume && recipe.out === undefined)
        throw usageError(
          "--resume continues the run of a folder: name it with --out, for example " +
            resumeCommand("runs/NAME"),
        );
      const resume = options.resume === true;
      const { compileRun, train } = await import("../train/train.js");
      if (options.dumpProgram) {
        const { programs } = await compileRun(recipe, { resume });
        await printResult(programs.map(({ text }) => text).join("\n"));
        return;
      }
      const { signal } = await train(recipe, { resume });
      process.exitCode = signal === undefined ? 0 : signalStatus(signal);
    });
}

/** What was typed, and nothing that commander fills in, as fields of a recipe. */
function explicitFlags(command: Command): RecipeInput {
  const typed = Object.entries(command.opts()).filter(
    ([name]) => !extras.has(name) && command.getOptionValueSource(name) === "cli",
  );
  return Object.fromEntries(
    typed.map(([name, value]) => {
      const field = fields[name] ?? (name as keyof RecipeInput);
      return [field, value === true ? (bare[field] ?? true) : value];
    }),
  );
}
