// `onehour train`: resolves flags and recipe file into one recipe and trains it.
import { Command } from "commander";
import { signalStatus } from "../ranks/signals.js";
import { requireOwnModules } from "../recipe/modules.js";
import { table } from "../recipe/table.js";
import { exists } from "../system/exists.js";
import { printResult } from "../system/output.js";
import { commandLine, resumeCommand } from "../text/command.js";
import { addRecipeFlags, typedFields } from "./flags.js";
import { readRecipe } from "./recipe.js";
import { usageError } from "./values.js";

/** Flags that are not fields of a recipe. */
interface Extras {
  recipe?: string;
  resume?: true;
  dumpProgram?: true;
}

const examples = () => `
A flag that begins with --no- has an opposite, for recipes that say otherwise: --nesterov.

Examples:
  ${commandLine("train", "fashion-mnist", "--workers", "2", "--batch", "64", "--epochs", "1", "--lr", "0.4")}
  ${commandLine("train", "/data/imagenet", "--recipe", "goyal-2017", "--minibatch", "8192")}
`;

export function trainCommand(): Command {
  const command = new Command("train")
    .description("Train a network with k synchronous workers.")
    .argument(table.dataset.flag, table.dataset.help);
  return addRecipeFlags(command)
    .optionsGroup("The run:")
    .option("--recipe <name|file>", "goyal-2017, a .json or a .ts; flags override it")
    .option("--resume", "continue the run in --out from its last checkpoint")
    .option("--dump-program", "print the programs of the run and exit")
    .helpOption("-h, --help", "print this")
    .addHelpText("after", examples)
    .action(async (dataset: string | undefined, options: Extras) => {
      const { overrideRecipe } = await import("../recipe/recipe.js");
      const typed = { ...typedFields(command), ...(dataset === undefined ? {} : { dataset }) };
      const file = options.recipe === undefined ? {} : await readRecipe(options.recipe);
      if (options.recipe !== undefined) requireOwnModules(file, typed, options.recipe);
      const recipe = overrideRecipe(file, typed);
      const resume = options.resume === true;
      if (recipe.dataset === undefined && !resume)
        throw usageError(
          `train needs a dataset, for example: ${commandLine("train", "fashion-mnist")}`,
        );
      if (resume && recipe.out === undefined) {
        const folder = dataset !== undefined && exists(dataset) ? dataset : "runs/NAME";
        throw usageError(
          "--resume continues the run of a folder: name it with --out, for example " +
            resumeCommand(folder),
        );
      }
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
