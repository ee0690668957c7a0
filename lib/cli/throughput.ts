// `onehour bench throughput`: images per second of the training step by number of workers, and where a
// step's time goes.
import type { Command } from "commander";
import type { ThroughputOptions } from "../bench/throughput.js";
import { endAsSignalled } from "../ranks/signals.js";
import { printResult } from "../system/output.js";
import { requireWritable } from "../system/writable.js";
import { LiveLine } from "../terminal/live-line.js";
import { Stages } from "../terminal/stages.js";
import { drawingIn } from "./chart.js";
import { save } from "./save.js";
import { stepCommand } from "./step-command.js";
import { choice, usageError, wholeNumber } from "./values.js";

type Flags = Omit<ThroughputOptions, "onProgress"> & {
  chart?: string;
  compare?: string;
  profile?: string | true;
  json?: true;
};

const count = wholeNumber(1, 2);
const counts = (text: string) => text.split(",").map(count);

export function throughputCommand(): Command {
  return stepCommand("throughput")
    .description("Images per second of the training step, per number of workers.")
    .option("--workers <k,...>", "worker counts to compare; default: 1 and all GPUs", counts)
    .option("--strong", "--batch images a step in all, divided among the workers")
    .option("--threads <t>", "threads per worker; default: cores / workers", wholeNumber(1, 2))
    .option("--steps <s>", "steps of a round; default: about 3 seconds' worth", wholeNumber(1, 10))
    .addOption(choice("--against <rival>", "also time the same step in PyTorch", ["pytorch"]))
    .option("--chart <file>", "also draw the images per second, as out.svg or out.html")
    .option("--compare <file>", "also show what changed since a result that --json printed")
    .option("--profile [file]", "write what onehour plan reads; without a file print it alone")
    .action(measure);
}

async function measure(flags: Flags): Promise<void> {
  const { json, chart, compare: old, profile, ...options } = flags;
  if (profile === true && (json || old !== undefined))
    throw usageError(
      `--profile without a file prints nothing else, so not ${json ? "--json" : "--compare"}: write --profile FILE.`,
    );
  if (typeof profile === "string") requireWritable(profile, "the profile");
  const { pictures } = await import("../bench/throughput-page.js");
  const draw = drawingIn(chart, pictures);
  const { compare, comparisonTable, readKept } = await import("../bench/compare.js");
  const kept = old === undefined ? undefined : await readKept(old);
  const { throughput } = await import("../bench/throughput.js");
  const { throughputTable } = await import("../bench/throughput-table.js");
  endAsSignalled();
  const live = new LiveLine(process.stderr);
  const stages = new Stages(live);
  const show = (text: string, share: number) => {
    if (live.isLive) stages.show({ text, share });
  };
  const measured = async () => {
    const result = await throughput({ ...options, onProgress: show });
    if (profile === undefined) return { result };
    const { measureProfile } = await import("../bench/profile-of.js");
    show("decoding", 1);
    return { result, profile: await measureProfile(result) };
  };
  const { result, profile: made } = await measured().finally(() => stages.end());
  const comparison = kept && compare(result, kept, old!);
  const text =
    profile === true
      ? `${JSON.stringify(made, null, 2)}\n`
      : json
        ? `${JSON.stringify({ ...result, ...(comparison ? { comparison } : {}) })}\n`
        : throughputTable(result) + (comparison ? comparisonTable(comparison) : "");
  // What was measured is shown even where a file cannot be written any more.
  await printResult(text);
  await draw(result);
  if (typeof profile === "string")
    await save(profile, `${JSON.stringify(made, null, 2)}\n`, "--profile");
}
