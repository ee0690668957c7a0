// `onehour bench all-reduce`: times of sums over the ranks, in nccl-tests' columns.
import { Command, InvalidArgumentError } from "commander";
import { type DeviceChoice, deviceChoices } from "../device/device.js";
import { restartOptions } from "../ranks/cluster-options.js";
import { endAsSignalled } from "../ranks/signals.js";
import { table } from "../recipe/table.js";
import { printResult } from "../system/output.js";
import { addClusterFlags, typedCluster } from "./flags.js";
import { choice, wholeNumber } from "./values.js";

interface Flags {
  workers?: number;
  device: DeviceChoice;
  minBytes?: number;
  maxBytes?: number;
  json?: true;
}

const units: Readonly<Record<string, number>> = { "": 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 };

/** "64K", "256MB": bytes, with the binary units of nccl-tests. */
export function bytesOf(text: string): number {
  const match = /^(\d+)\s*([KMG]?)(?:i?B)?$/i.exec(text.trim());
  if (!match) throw new InvalidArgumentError("Expected bytes, for example 1024, 64K or 256M.");
  return Number(match[1]) * units[match[2]!.toUpperCase()]!;
}

export function allReduceCommand(): Command {
  const command = new Command("all-reduce")
    .description("Time, bandwidth and correctness of sums over the ranks, by size.")
    .option(
      "--workers <k>",
      "ranks on all machines; default: one a GPU, or 2 on the CPU",
      wholeNumber(1, 2),
    )
    .addOption(choice("--device <d>", table.device.help, deviceChoices).default("auto"))
    .option("-b, --min-bytes <size>", "the smallest array; default: 1K", bytesOf)
    .option("-e, --max-bytes <size>", "the largest array; default: 256M", bytesOf)
    .option("--json", "print one JSON object instead of a table");
  return addClusterFlags(command, restartOptions).action(async ({ json, ...options }: Flags) => {
    const { allReduceBench, requireRight } = await import("../bench/all-reduce-bench.js");
    const { rowText, tableEnd, tableHead } = await import("../bench/all-reduce-table.js");
    endAsSignalled();
    const { workers, device, minBytes, maxBytes } = options;
    let isBegun = false;
    const result = await allReduceBench({
      ...{ device, cluster: typedCluster(command) },
      ...(workers === undefined ? {} : { workers }),
      ...(minBytes === undefined ? {} : { minBytes }),
      ...(maxBytes === undefined ? {} : { maxBytes }),
      onRow(row, of) {
        if (json) return;
        process.stdout.write((isBegun ? "" : tableHead(of)) + rowText(row));
        isBegun = true;
      },
    });
    if (result === undefined) return; // rank 0 prints it
    // Rows that could not be written are told by the end.
    await printResult(json ? `${JSON.stringify(result)}\n` : tableEnd(result));
    requireRight(result);
  });
}
