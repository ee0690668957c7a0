// `onehour launch`: runs a user's own script in k worker processes that can `connect()`.
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { Command } from "commander";
import { exists } from "../system/exists.js";
import { requireRegular } from "../system/regular-file.js";
import { readSetting } from "../system/variables.js";
import { commandLine } from "../text/command.js";
import { addClusterFlags, typedCluster } from "./flags.js";
import { usageError, wholeNumber } from "./values.js";

export function launchCommand(): Command {
  const command = new Command("launch")
    .description("Run your script in k processes, which meet by connect().")
    .option(
      "--workers <k>",
      "processes to start, on all machines; default: one a GPU, or 1",
      wholeNumber(1, 2),
    )
    .argument("<script>", "TypeScript or JavaScript: .ts, .mts, .cts, .js, .mjs or .cjs")
    .argument("[args...]", "handed to the script")
    .passThroughOptions();
  return addClusterFlags(command).action(
    async (script: string, args: string[], { workers }: { workers?: number }) => {
      const path = resolve(script);
      if (!exists(path))
        throw usageError(
          `${path} does not exist. Name a script that does, for example: ` +
            commandLine(...["launch", "--workers", String(workers ?? 2), "examples/all-reduce.ts"]),
        );
      await requireRegular(path).catch((error: Error) => {
        throw usageError(`${path} is not a script (${error.message}). Name a file.`);
      });
      const { readPart } = await import("../ranks/cluster.js");
      const { launchOn } = await import("../ranks/launch.js");
      const { requeueAfter } = await import("../ranks/requeue.js");
      const typed = typedCluster(command);
      const { place, cluster, workers: ranks } = readPart(typed, { workers });
      if (cluster === undefined)
        throw usageError(
          `this is one of ${ranks} processes that an engine has started, each of which would start workers of ` +
            "its own. Start the script itself in each of them, or this command once a machine; --nodes 1 makes " +
            "it a launch of its own",
        );
      if (place.note !== undefined) process.stderr.write(`onehour: ${place.note}\n`);
      const runner = fileURLToPath(new URL("../ranks/run-script.js", import.meta.url));
      const status = await launchOn({
        cluster,
        command: () => [runner, path, ...args],
        timeoutSeconds: readSetting("ONEHOUR_TIMEOUT") ?? 60,
        remedy: "set ONEHOUR_TIMEOUT to more seconds",
      });
      process.exitCode = status;
      if (typed.requeue && cluster.nodeRank === 0)
        await requeueAfter(status, (text) => process.stderr.write(`onehour: ${text}\n`));
    },
  );
}
