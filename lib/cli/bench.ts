// `onehour bench throughput`: images per second of the training step.
import { Command } from "commander";
import { choice, signalStatus, usageError, wholeNumber } from "./values.js";

interface Options {
  model: string;
  batch: number;
  precision: "fp32" | "tf32" | "bf16";
  workers: number[];
  threads?: number;
  steps?: number;
  against?: "pytorch";
  json?: true;
}

const count = wholeNumber(1, 2);
const counts = (text: string) => text.split(",").map(count);

function throughputCommand(): Command {
  return new Command("throughput")
    .description("Images per second of the training step, per number of workers.")
    .option("--model <name>", "network", "resnet50")
    .option("--batch <n>", "images per worker", wholeNumber(1, 16), 16)
    .addOption(choice("--precision <p>", "arithmetic", ["fp32", "tf32", "bf16"]).default("fp32"))
    .option("--workers <k,...>", "worker counts to compare", counts, [1])
    .option("--threads <t>", "threads per worker; default: cores / workers", wholeNumber(1, 2))
    .option("--steps <s>", "steps of a round; default: about 3 seconds' worth", wholeNumber(1, 10))
    .addOption(choice("--against <rival>", "also time the same step in PyTorch", ["pytorch"]))
    .option("--json", "print one JSON object instead of a table")
    .action(async ({ json, ...options }: Options) => {
      if (options.against && !options.workers.includes(1))
        throw usageError("--against pytorch compares one process with one: add 1 to --workers.");
      const { throughput, throughputTable } = await import("../bench/throughput.js");
      // The workers' launcher passes these on, so that they end the bench with an error.
      for (const signal of ["SIGINT", "SIGTERM"] as const)
        process.once(signal, () => process.once("exit", () => exitAs(signal)));
      const result = await throughput(options);
      process.stdout.write(json ? `${JSON.stringify(result)}\n` : throughputTable(result));
    });
}

function exitAs(signal: NodeJS.Signals): void {
  process.exitCode = signalStatus(signal);
}

export function benchCommand(): Command {
  return new Command("bench").description("Measure.").addCommand(throughputCommand());
}
