// The flags that say which step a benchmark measures.
import { Command } from "commander";
import { deviceChoices } from "../device/device.js";
import { precisions } from "../graph/compiled.js";
import { table } from "../recipe/table.js";
import { choice, wholeNumber } from "./values.js";

/** A command with these flags, and `--json`. */
export function stepCommand(name: string): Command {
  return new Command(name)
    .option("--model <name|file>", "network, or a module of one", "resnet50")
    .option("--batch <n>", "images per worker", wholeNumber(1, 16), 16)
    .addOption(choice("--precision <p>", "default: fp32 on the CPU, bf16 on a GPU", precisions))
    .addOption(choice("--device <d>", table.device.help, deviceChoices).default("auto"))
    .option("--json", "print one JSON object instead of a table");
}
