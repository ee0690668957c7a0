// `onehour report`: what the logs of runs become for people to look at.
import { resolve } from "node:path";
import { Command } from "commander";
import { printResult } from "../system/output.js";
import { requireWritable } from "../system/writable.js";
import { drawingIn } from "./chart.js";
import { save } from "./save.js";
import { usageError } from "./values.js";

interface Flags {
  out?: string;
  chart?: string;
  json?: true;
  tensorboard?: string;
}

export function reportCommand(): Command {
  return new Command("report")
    .description("Show the logs of runs as one page, or write them as TensorBoard event files.")
    .argument("<run...>", "run folders")
    .option("--out <file>", "where the page goes; default: report.html")
    .option(
      "--chart <file>",
      "draw error, loss and noise scale (.svg), and write a page only with --out",
    )
    .option("--json", "print one JSON object, and write a page only with --out")
    .option("--tensorboard <folder>", "write event files instead, a subfolder a run")
    .action(async (folders: string[], { out, chart, json, tensorboard }: Flags) => {
      if (tensorboard !== undefined) {
        if (out !== undefined || chart !== undefined || json)
          throw usageError(
            "--tensorboard goes without --out, --chart and --json; run the command twice.",
          );
        const { exportEvents } = await import("../report/tensorboard/export.js");
        const written = await exportEvents(folders, tensorboard);
        return await printResult(written.map((folder) => `${folder}\n`).join(""));
      }
      const file = out ?? (json || chart !== undefined ? undefined : "report.html");
      if (chart !== undefined && out !== undefined && resolve(chart) === resolve(out))
        throw usageError("--chart and --out name the same file; name two.");
      if (file !== undefined) requireWritable(file, "the page");
      const { readRuns } = await import("../report/run-data.js");
      const { runPage, summaryOf } = await import("../report/run-page.js");
      const { runPicture } = await import("../report/run-picture.js");
      const draw = drawingIn(chart, { ".svg": runPicture });
      const runs = await readRuns(folders);
      await draw(runs);
      if (file !== undefined) await save(file, runPage(runs), "--out");
      const written = [chart, file].filter((one) => one !== undefined);
      await printResult(
        json
          ? `${JSON.stringify({ runs: runs.map(summaryOf) })}\n`
          : written.map((one) => `${one}\n`).join(""),
      );
    });
}
