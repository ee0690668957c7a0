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

interface Flags {
  workers?: number;
  doctor?: true;
}

const at = (module: string) => fileURLToPath(new URL(module, import.meta.url));
const runner = at("../ranks/run-script.js");
const doctorRank = at("../doctor/rank.js");

/** The file of a script that is there. */
async function pathOf(script: string | undefined, workers = 2): Promise<string> {
  const example = () =>
    commandLine("launch", "--workers", String(workers), "examples/all-reduce.ts");
  if (script === undefined)
    throw usageError(`missing required argument 'script'. Name one, for example: ${example()}`);
  const path = resolve(script);
  if (!exists(path))
    throw usageError(`${path} does not exist. Name a script that does, for example: ${example()}`);
  await requireRegular(path).catch((error: Error) => {
    throw usageError(`${path} is not a script (${error.message}). Name a file.`);
  });
  return path;
}

export function launchCommand(): Command {
  const command = new Command("launch")
    .description("Run your script in k processes, which meet by connect().")
    .option(
      "--workers <k>",
      "processes to start, on all machines; default: one a GPU, or 1",
      wholeNumber(1, 2),
    )
    .option(
      "--doctor",
      "instead of a script: check every host, compare versions, measure each pair",
    )
    .argument("[script]", "TypeScript or JavaScript: .ts, .mts, .cts, .js, .mjs or .cjs")
    .argument("[args...]", "handed to the script")
    .passThroughOptions();
  return addClusterFlags(command).action(
    async (script: string | undefined, args: string[], { workers, doctor }: Flags) => {
      const programs = doctor ? [doctorRank] : [runner, await pathOf(script, workers), ...args];
      if (doctor && script !== undefined)
        throw usageError(`--doctor takes no script: leave ${script} out.`);
      const { readPart } = await import("../ranks/cluster.js");
      const { launchOn } = await import("../ranks/launch.js");
      const { requeueAfter } = await import("../ranks/requeue.js");
      const typed = typedCluster(command);
      const { place, cluster, workers: ranks } = readPart(typed, { workers });
      if (cluster === undefined && doctor) {
        await import("../doctor/rank.js");
        return;
      }
      if (cluster === undefined)
        throw usageError(
          `this is one of ${ranks} processes that an engine has started, each of which would start workers of ` +
            "its own. Start the script itself in each of them, or this command once a machine; --nodes 1 makes " +
            "it a launch of its own",
        );
      if (place.note !== undefined) process.stderr.write(`onehour: ${place.note}\n`);
      const status = await launchOn({
        cluster,
        command: () => programs,
        timeoutSeconds: readSetting("ONEHOUR_TIMEOUT") ?? 60,
        remedy: "set ONEHOUR_TIMEOUT to more seconds",
      });
      process.exitCode = status;
      if (typed.requeue && cluster.nodeRank === 0)
        await requeueAfter(status, (text) => process.stderr.write(`onehour: ${text}\n`));
    },
  );
}
