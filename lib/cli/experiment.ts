// `onehour experiment`: the paper's claims at a small scale, with error bars.
import { Argument, Command } from "commander";
import type { Standing } from "../experiment/conduct.js";
import { experiments } from "../experiment/points.js";
import type { RunRecord } from "../experiment/records.js";
import type { ExperimentResult } from "../experiment/result.js";
import { signalStatus } from "../ranks/signals.js";
import { printResult } from "../system/output.js";
import { timeLeft } from "../terminal/durations.js";
import { LiveLine } from "../terminal/live-line.js";
import { Stages } from "../terminal/stages.js";
import { commandLine } from "../text/command.js";
import { oneLine, plural } from "../text/words.js";
import { addExperimentFlags, typedExperiment } from "./flags.js";

const described = () => `
Experiments:
${Object.entries(experiments)
  .map(([name, text]) => `  ${name.padEnd(9)}${text}`)
  .join("\n")}
`;

export function experimentCommand(): Command {
  const command = new Command("experiment")
    .description("Show the paper's claims at a small scale, with error bars and verdicts.")
    .addArgument(new Argument("<name>", "what to show").choices(Object.keys(experiments)));
  return addExperimentFlags(command)
    .option("--json", "print one JSON object instead of errors and verdicts")
    .addHelpText("after", described)
    .action(async (name: string, { json }: { json?: true }) => {
      const { experiment } = await import("../experiment/experiment.js");
      const { resultNames } = await import("../experiment/folder.js");
      const { experimentText } = await import("../experiment/text.js");
      const live = new LiveLine(process.stderr);
      const stages = new Stages(live);
      const result = await experiment(name, {
        ...typedExperiment(command),
        say: (text) => live.line(oneLine(text)),
        onStanding: (standing) => stages.show(stageOf(standing)),
        onRecord: (record, standing) => live.line(recordText(record, standing)),
      }).finally(() => stages.end());
      await printResult(
        json
          ? `${JSON.stringify(result)}\n`
          : `${experimentText(result)}\n${result.out}/${resultNames.page}\n${result.out}/${resultNames.markdown}\n`,
      );
      live.line(endText(result));
      process.exitCode = statusOf(result);
    });
}

const leftText = ({ done, runs, secondsLeft }: Standing) =>
  secondsLeft === undefined || done === runs ? [] : [`${timeLeft(secondsLeft)} left`];

function stageOf(standing: Standing) {
  const { done, runs, share, running } = standing;
  return {
    text: `${done} of ${plural(runs, "run")}`,
    share,
    lineInterval: 60,
    details: [...leftText(standing), ...running],
  };
}

function recordText(record: RunRecord, standing: Standing): string {
  const { folder, status, error, seconds, reason } = record;
  const { done, runs } = standing;
  const ended = status === "begun" ? "stopped" : status;
  const what = error === undefined ? ended : `${ended}, ${error.toFixed(2)} %`;
  const course = [`${done} of ${plural(runs, "run")}`, ...leftText(standing)].join(", ");
  const why = status === "failed" && reason !== undefined ? `: ${oneLine(reason)}` : "";
  return `${folder.split("/").at(-1)}: ${what}, ${seconds.toFixed(0)} s (${course})${why}`;
}

const withoutBudget = (words: readonly string[]) =>
  words.filter((word, i) => !/^--budget(=|$)/.test(word) && words[i - 1] !== "--budget");

/** What the user may do next. */
function endText({ status, runs }: ExperimentResult): string {
  const words = process.argv.slice(2);
  const again = commandLine(...words);
  const failed = runs.filter((run) => run.status === "failed").length;
  if (status === "interrupted") return `stopped; to go on: ${again}`;
  const failures = failed > 0 ? [`${plural(failed, "run")} failed`] : [];
  const ending =
    status === "out of time"
      ? `no further run fits into the budget; to go on: ${commandLine(...withoutBudget(words))} --budget LONGER`
      : failed > 0
        ? `to try again: ${again}`
        : "all runs have ended";
  return [...failures, ending].join("; ");
}

function statusOf({ runs, signal }: ExperimentResult): number {
  if (signal !== undefined) return signalStatus(signal);
  return runs.some((run) => run.status === "failed") ? 1 : 0;
}
