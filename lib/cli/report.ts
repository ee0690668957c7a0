// `onehour report`: what the logs of runs become for people to look at.
import { Command } from "commander";
import { printResult } from "../system/output.js";

interface Flags {
  tensorboard: string;
}

export function reportCommand(): Command {
  return new Command("report")
    .description("Write the logs of runs as TensorBoard event files.")
    .argument("<run...>", "run folders")
    .requiredOption("--tensorboard <folder>", "where to write them, a subfolder a run")
    .action(async (runs: string[], { tensorboard }: Flags) => {
      const { exportEvents } = await import("../report/tensorboard/export.js");
      const folders = await exportEvents(runs, tensorboard);
      await printResult(folders.map((folder) => `${folder}\n`).join(""));
    });
}
