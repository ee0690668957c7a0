// `onehour report`: what the logs of runs become for people to look at.
import { Command } from "commander";
import { printResult } from "../system/output.js";
import { requireWritable } from "../system/writable.js";
import { save } from "./save.js";
import { usageError } from "./values.js";

interface Flags {
  out?: string;
  json?: true;
  tensorboard?: string;
}

export function reportCommand(): Command {
  return new Command("report")
    .description("Show the logs of runs as one page, or write them as TensorBoard event files.")
    .argument("<run...>", "run folders")
    .option("--out <file>", "where the page goes; default: report.html")
    .option("--json", "print one JSON object, and write a page only with --out")
    .option("--tensorboard <folder>", "write event files instead, a subfolder a run")
    .action(async (folders: string[], { out, json, tensorboard }: Flags) => {
      if (tensorboard !== undefined) {
        if (out !== undefined || json)
          throw usageError("--tensorboard goes without --out and --json; run the command twice.");
        const { exportEvents } = await import("../report/tensorboard/export.js");
        const written = await exportEvents(folders, tensorboard);
        return await printResult(written.map((folder) => `${folder}\n`).join(""));
      }
      const file = out ?? (json ? undefined : "report.html");
      if (file !== undefined) requireWritable(file, "the page");
      const { readRuns } = await import("../report/run-data.js");
      const { runPage, summaryOf } = await import("../report/run-page.js");
      const runs = await readRuns(folders);
      if (file !== undefined) await save(file, runPage(runs), "--out");
      await printResult(json ? `${JSON.stringify({ runs: runs.map(summaryOf) })}\n` : `${file}\n`);
    });
}
