// `onehour evaluate`: accuracy of a checkpoint on a whole test set.
import { Command } from "commander";
import { table } from "../recipe/table.js";
import { printResult } from "../system/output.js";
import { LiveLine } from "../terminal/live-line.js";
import { Stages } from "../terminal/stages.js";
import { count, counted, lossText, oneLine, warning } from "../text/words.js";
import { flagOf } from "./flags.js";

const mostNamed = 10; // damaged images
const percent = (fraction: number) => `${(100 * fraction).toFixed(2)}%`;

export function evaluateCommand(): Command {
  return new Command("evaluate")
    .description("Test the weights of a checkpoint, each image once.")
    .argument(
      "<checkpoint>",
      "a run folder, or a .safetensors file of this program or of torchvision",
    )
    .argument("[dataset]", `${table.dataset.help}; default: the checkpoint's own`)
    .addOption(flagOf("model", "the run's, or by names and shapes"))
    .addOption(flagOf("imageSize", "as tested by the run, or 224"))
    .addOption(flagOf("testResize", "as much larger as in the run, or 8/7 of their size"))
    .option("--ema", "test the moving average of the weights, which the run kept (--ema-decay)")
    .action(async (checkpoint: string, dataset: string | undefined, options: object) => {
      const { evaluateCheckpoint } = await import("../train/evaluate.js");
      const live = new LiveLine(process.stderr);
      const stages = new Stages(live);
      const {
        top1,
        top5,
        loss,
        correct,
        images,
        otherData,
        damaged = [],
      } = await evaluateCheckpoint(checkpoint, dataset, {
        ...options,
        warn: (text) => live.line(oneLine(text)),
        onProgress: stages.show,
      }).finally(() => live.clear());
      if (otherData !== undefined) process.stderr.write(`${warning(otherData)}\n`);
      for (const text of damaged.slice(0, mostNamed)) process.stderr.write(`${warning(text)}\n`);
      if (damaged.length > mostNamed)
        process.stderr.write(`warning: ${count(damaged.length)} images were damaged\n`);
      await printResult(
        `test accuracy ${percent(top1)} (${count(correct)} correct, ${count(images)} of ` +
          `${counted(images, "image")} counted), top-5 ${percent(top5)}, loss ${lossText(loss)}\n`,
      );
    });
}
