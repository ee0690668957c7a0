// `onehour train`: resolves flags and recipe file into one recipe and trains it.
import { Command, InvalidArgumentError } from "commander";
import { signalStatus } from "../ranks/signals.js";
import { requireOwnModules } from "../recipe/modules.js";
import { table } from "../recipe/table.js";
import { exists } from "../system/exists.js";
import { printResult } from "../system/output.js";
import { commandLine, resumeCommand } from "../text/command.js";
import { addClusterFlags, addRecipeFlags, typedCluster, typedFields } from "./flags.js";
import { readRecipe, recipeNames } from "./recipe.js";
import { usageError } from "./values.js";

/** Flags that are not fields of a recipe. */
interface Extras {
  recipe?: string;
  /** True for the flag without a value. */
  resume?: true | "auto";
  dumpProgram?: true;
}

const examples = () => `
A flag that begins with --no- has an opposite, for recipes that say otherwise:
--nesterov.

Examples:
  ${commandLine("train", "fashion-mnist", "--workers", "2", "--batch", "64", "--epochs", "1", "--lr", "0.4")}
  ${commandLine("train", "/data/imagenet", "--recipe", "goyal-2017", "--minibatch", "8192")}
`;

/** The value of `--resume`. */
function onlyAuto(value: string): "auto" {
  if (value === "auto") return value;
  throw new InvalidArgumentError("Its only value is auto.");
}

/**
 * Commander takes the word that follows for an optional value. Only `auto` is one of `--resume`: before any
 * other word, which is the data set, the flag moves to the end.
 */
class TrainCommand extends Command {
  override parseOptions(argv: string[]) {
    const isBare = argv.map((word, i) => word === "--resume" && argv[i + 1] !== "auto");
    const end = argv.includes("--") ? argv.indexOf("--") : argv.length;
    const others = argv.filter((_, i) => i < end && !isBare[i]);
    const bare = argv.filter((_, i) => i < end && isBare[i]);
    return super.parseOptions([...others, ...bare, ...argv.slice(end)]);
  }
}

export function trainCommand(): Command {
  const command = new TrainCommand("train")
    .description("Train a network with k synchronous workers.")
    .argument(table.dataset.flag, table.dataset.help);
  return addClusterFlags(addRecipeFlags(command))
    .optionsGroup("The run:")
    .option(
      "--recipe <name|file>",
      `${recipeNames().join(", ")}, a .json or a .ts; flags override it`,
    )
    .option(
      "--resume [auto]",
      "continue the run in --out from its last checkpoint; auto: if there is one",
      onlyAuto,
    )
    .option("--dump-program", "print the programs of the run and exit")
    .helpOption("-h, --help", "print this")
    .addHelpText("after", examples)
    .action(async (dataset: string | undefined, options: Extras) => {
      const { overrideRecipe } = await import("../recipe/recipe.js");
      const typed = { ...typedFields(command), ...(dataset === undefined ? {} : { dataset }) };
      const file = options.recipe === undefined ? {} : await readRecipe(options.recipe);
      if (options.recipe !== undefined) requireOwnModules(file, typed, options.recipe);
      const recipe = overrideRecipe(file, typed);
      const { resume = false } = options;
      if (recipe.dataset === undefined && resume !== true)
        throw usageError(
          `train needs a dataset, for example: ${commandLine("train", "fashion-mnist")}`,
        );
      if (resume === "auto" && recipe.out === undefined)
        throw usageError(
          "--resume auto continues the run of a folder if it holds one: name it with --out, for " +
            `example ${commandLine("train", dataset ?? "fashion-mnist", "--out", "runs/NAME", "--resume", "auto")}`,
        );
      if (resume && recipe.out === undefined) {
        const folder = dataset !== undefined && exists(dataset) ? dataset : "runs/NAME";
        throw usageError(
          "--resume continues the run of a folder: name it with --out, for example " +
            resumeCommand(folder),
        );
      }
      const { compileRun, train } = await import("../train/train.js");
      const cluster = typedCluster(command);
      if (options.dumpProgram) {
        if (cluster.nodes !== undefined || cluster.workersPerNode !== undefined)
          throw usageError(
            "--dump-program runs nothing on other machines: name the workers of all of them with --workers",
          );
        const { programs } = await compileRun(recipe, { resume });
        await printResult(programs.map(({ text }) => text).join("\n"));
        return;
      }
      const { signal } = await train(recipe, { resume, cluster });
      process.exitCode = signal === undefined ? 0 : signalStatus(signal);
    });
}
