// `onehour launch`: runs a user's own script in k worker processes that can `connect()`.
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { Command } from "commander";
import { exists } from "../system/exists.js";
import { requireRegular } from "../system/regular-file.js";
import { readSetting } from "../system/variables.js";
import { commandLine } from "../text/command.js";
import { usageError, wholeNumber } from "./values.js";

export function launchCommand(): Command {
  return new Command("launch")
    .description("Run your script in k processes, which meet by connect().")
    .option("--workers <k>", "processes to start; default: one a GPU, or 1", wholeNumber(1, 2))
    .argument("<script>", "TypeScript or JavaScript: .ts, .mts, .cts, .js, .mjs or .cjs")
    .argument("[args...]", "handed to the script")
    .passThroughOptions()
    .action(async (script: string, args: string[], options: { workers?: number }) => {
      const path = resolve(script);
      if (!exists(path))
        throw usageError(
          `${path} does not exist. Name a script that does, for example: ` +
            commandLine(
              ...["launch", "--workers", String(options.workers ?? 2), "examples/all-reduce.ts"],
            ),
        );
      await requireRegular(path).catch((error: Error) => {
        throw usageError(`${path} is not a script (${error.message}). Name a file.`);
      });
      const { launch } = await import("../ranks/launch.js");
      const { defaultWorkers } = await import("../device/gpus.js");
      const runner = fileURLToPath(new URL("../ranks/run-script.js", import.meta.url));
      process.exitCode = await launch({
        workers: options.workers ?? defaultWorkers(),
        command: () => [runner, path, ...args],
        timeoutSeconds: readSetting("ONEHOUR_TIMEOUT") ?? 60,
        remedy: "set ONEHOUR_TIMEOUT to more seconds",
      });
    });
}
