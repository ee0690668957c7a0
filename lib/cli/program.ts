// The program of the `onehour` command: parses the command line, runs one command, turns errors into
// exit statuses. 0 success, 1 a failed run, 2 wrong usage, 128 and a signal's number after that.
import { readFileSync } from "node:fs";
import { Command, CommanderError } from "commander";
import { OnehourError } from "../errors.js";
import { explainSystemError } from "../system/system-errors.js";
import { commandLine } from "../text/command.js";
import { oneLine, printable } from "../text/words.js";
import { benchCommand } from "./bench.js";
import { buildCommand } from "./build.js";
import { evaluateCommand } from "./evaluate.js";
import { launchCommand } from "./launch.js";
import { trainCommand } from "./train.js";
import { isUsageError } from "./values.js";

const { version } = JSON.parse(
  readFileSync(new URL("../../package.json", import.meta.url), "utf8"),
) as { version: string };

const commands = [trainCommand, evaluateCommand, launchCommand, benchCommand, buildCommand];

function program(): Command {
  const root = new Command("onehour")
    .description("Train residual networks with large-minibatch synchronous SGD.")
    .version(version)
    .enablePositionalOptions();
  for (const command of commands) root.addCommand(command());
  configure(root, commandLine());
  return root;
}

/** Errors of every command and its subcommands end in what to run next, and throw instead of exiting. */
function configure(command: Command, path: string): void {
  command.configureOutput({
    outputError: (text, write) => write(text.split("\n").map(printable).join("\n")),
  });
  command.exitOverride().showHelpAfterError(`Run \`${path} --help\` for what it takes.`);
  for (const child of command.commands) configure(child, `${path} ${child.name()}`);
}

function exitStatus(error: unknown): number {
  // Commander has printed its message already.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  if (error instanceof OnehourError) {
    process.stderr.write(`onehour: ${oneLine(error.message)}\n`);
    return isUsageError(error) ? 2 : 1;
  }
  const text = explainSystemError(error);
  if (text !== undefined) {
    process.stderr.write(`onehour: ${oneLine(text)}\n`);
    return 1;
  }
  const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
  const lines = stack.split("\n").map(printable);
  process.stderr.write(
    `onehour: this is a bug in onehour, please report it:\n${lines.join("\n")}\n`,
  );
  return 1;
}

try {
  await program().parseAsync();
} catch (error) {
  process.exitCode = exitStatus(error);
}
