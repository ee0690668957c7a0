// `onehour report`: what the logs of runs become for people to look at.
import { lstat, writeFile } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { Command } from "commander";
import { OnehourError } from "../errors.js";
import { writeAtomically } from "../run-folder/files.js";
import { printResult } from "../system/output.js";
import { requireWritable } from "../system/writable.js";
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
      if (file !== undefined) await save(file, runPage(runs));
      await printResult(json ? `${JSON.stringify({ runs: runs.map(summaryOf) })}\n` : `${file}\n`);
    });
}

/** Writes the page, as a whole in the place of an earlier one; a link or a device stays what it is. */
async function save(file: string, text: string): Promise<void> {
  try {
    const there = await lstat(file).catch(() => undefined);
    if (there && !there.isFile()) await writeFile(file, text);
    else await writeAtomically(dirname(file), basename(file), [Buffer.from(text)]);
  } catch (error) {
    throw new OnehourError(
      "ERR_ONEHOUR_OUTPUT",
      `cannot write ${file} (${(error as Error).message}); name another file with --out`,
    );
  }
}
