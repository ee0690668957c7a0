// `onehour bench`: images per second of the training step and of decoding, and where a step spends
// its time.

import { Command } from "commander";
import type { LoaderBenchOptions } from "../bench/loader.js";
import type { DeviceChoice } from "../device/device.js";
import type { Precision } from "../graph/compiled.js";
import { isModule } from "../modules/pinned.js";
import { listenForEnd, signalStatus } from "../ranks/signals.js";
import { exists } from "../system/exists.js";
import { printResult } from "../system/output.js";
import { oneLine } from "../text/words.js";
import { allReduceCommand } from "./all-reduce.js";
import { stepCommand } from "./step-command.js";
import { throughputCommand } from "./throughput.js";
import { choice, usageError, wholeNumber } from "./values.js";

interface OpsFlags {
  model: string;
  batch: number;
  precision?: Precision;
  device: DeviceChoice;
  threads?: number;
  repeats: number;
  traffic?: true;
  json?: true;
}

function opsCommand(): Command {
  return stepCommand("ops")
    .description("Time, bytes and operations of the training step by op, and its slowest lines.")
    .option("--threads <t>", "threads on the CPU; default: all cores", wholeNumber(1, 2))
    .option("--repeats <r>", "steps to time", wholeNumber(1, 10), 10)
    .option("--traffic", "only count bytes, from the program text; needs its module only")
    .action(async ({ json, traffic, repeats, ...options }: OpsFlags) => {
      const { ops, opsTable } = await import("../bench/ops.js");
      const result = await ops({ ...options, repeats: traffic ? 0 : repeats });
      await printResult(json ? `${JSON.stringify(result)}\n` : opsTable(result));
    });
}

type LoaderFlags = Omit<LoaderBenchOptions, "folder" | "images" | "warn"> & { json?: true };

function loaderCommand(): Command {
  return new Command("loader")
    .description("Images per second of reading and decoding crops, in all and a core.")
    .argument(
      "[folder|module]",
      "train/CLASS/* and val/CLASS/*, or ./data.ts; without it images are made for this",
    )
    .option("--size <pixels>", "both sides of a crop; default: 224", wholeNumber(8, 224))
    .option("--threads <t>", "threads that decode; default: one a core", wholeNumber(1, 2))
    .option("--batch <n>", "images of a batch", wholeNumber(1, 32), 32)
    .option("--rounds <r>", "rounds of each kind of crop", wholeNumber(1, 5), 5)
    .option(
      "--batches <b>",
      "batches of a round; default: about 2 seconds' worth",
      wholeNumber(1, 20),
    )
    .addOption(
      choice("--against <rival>", "also time a DataLoader of PyTorch with Pillow", ["pytorch"]),
    )
    .option("--json", "print one JSON object instead of a table")
    .action(async (folder: string | undefined, { json, ...options }: LoaderFlags) => {
      if (folder !== undefined && !exists(folder) && !isModule(folder))
        throw usageError(`There is no folder ${folder}. Name one of images, a module, or none.`);
      const { benchLoader, loaderTable } = await import("../bench/loader.js");
      // At the exit the images that were made are removed.
      listenForEnd((signal) => process.exit(signalStatus(signal)));
      const result = await benchLoader({
        ...options,
        ...(folder === undefined ? {} : { folder }),
        warn: (text) => process.stderr.write(`${oneLine(text)}\n`),
      });
      await printResult(json ? `${JSON.stringify(result)}\n` : loaderTable(result));
    });
}

export function benchCommand(): Command {
  return new Command("bench")
    .description("Measure training, sums over the ranks, single ops, and decoding.")
    .addCommand(throughputCommand())
    .addCommand(allReduceCommand())
    .addCommand(opsCommand())
    .addCommand(loaderCommand());
}
