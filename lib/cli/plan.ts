// `onehour plan`: forecasts step time, efficiency and hours of more workers than there are here.
import { Command } from "commander";
import type { PlanOptions } from "../plan/options.js";
import { printResult } from "../system/output.js";
import { commandLine } from "../text/command.js";
import { drawingIn } from "./chart.js";
import { addPlanFlags, typedPlan } from "./flags.js";
import { usageError } from "./values.js";

interface Flags {
  profile?: string;
  paper?: true;
  chart?: string;
  json?: true;
}

export function planCommand(): Command {
  const command = new Command("plan")
    .description("Forecast the training of 1 to 1,024 workers from a measured step.")
    .option("--profile <file>", "the step, as `onehour bench throughput --profile` measures it")
    .option("--paper", "the step and the links of the paper instead");
  return addPlanFlags(command)
    .option("--chart <file>", "also draw it, as a picture (.svg) or a page (.html)")
    .option("--json", "print one JSON object instead of a table")
    .action(async ({ profile, paper, chart, json }: Flags) => {
      const { plan } = await import("../plan/plan.js");
      const { planText } = await import("../plan/text.js");
      const { pictures } = await import("../plan/picture.js");
      const draw = drawingIn(chart, pictures);
      const result = plan({ ...(await stepOf(profile, paper)), ...typedPlan(command) });
      await draw(result);
      await printResult(json ? `${JSON.stringify(result)}\n` : planText(result));
    });
}

/** What is forecast: the paper's system, or the profile of a file, whose link is yet to be typed. */
async function stepOf(profile?: string, paper?: true): Promise<PlanOptions> {
  if (profile !== undefined && paper)
    throw usageError("--profile and --paper name two steps: take one of them.");
  if (paper) return (await import("../plan/paper.js")).paperPlan;
  if (profile === undefined)
    throw usageError(
      "a plan begins with a measured step. Measure one: " +
        `${commandLine("bench", "throughput", "--profile", "profile.json")}, then name it: ` +
        `${commandLine("plan", "--profile", "profile.json", "--link", "50Gbit/s:5us")}. Or see the paper's: ` +
        commandLine("plan", "--paper"),
    );
  const { readProfile } = await import("../plan/profile-file.js");
  return { profile: await readProfile(profile) } as PlanOptions;
}
