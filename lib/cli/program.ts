// The program of the `onehour` command: parses the command line, runs one command, turns errors into
// exit statuses. 0 success, 1 a failed run, 2 wrong usage, 128 and a signal's number after that.

import { Command, CommanderError } from "commander";
import { OnehourError } from "../errors.js";
import { listenForEarlyEnd } from "../modules/early-end.js";
import { setVoice } from "../recipe/voice.js";
import { explainSystemError } from "../system/system-errors.js";
import { version } from "../system/version.js";
import { commandLine } from "../text/command.js";
import { oneLine, printable } from "../text/words.js";
import { benchCommand } from "./bench.js";
import { buildCommand } from "./build.js";
import { doctorCommand } from "./doctor.js";
import { evaluateCommand } from "./evaluate.js";
import { launchCommand } from "./launch.js";
import { planCommand } from "./plan.js";
import { reportCommand } from "./report.js";
import { trainCommand } from "./train.js";
import { explain, unknownCommand } from "./usage.js";
import { isUsageError } from "./values.js";

const commands = [
  trainCommand,
  evaluateCommand,
  launchCommand,
  benchCommand,
  planCommand,
  doctorCommand,
  reportCommand,
  buildCommand,
];

function program(): Command {
  const path = commandLine();
  const root = new Command("onehour")
    .description("Train residual networks with large-minibatch synchronous SGD.")
    .version(version)
    .enablePositionalOptions()
    .helpCommand(false);
  for (const command of commands) root.addCommand(command());
  root.addCommand(helpCommand(root, path));
  configure(root, path);
  return root;
}

/** `onehour help train`, which is `onehour train --help`. */
function helpCommand(root: Command, path: string): Command {
  return new Command("help")
    .description("Print the help of a command.")
    .argument("[command...]")
    .action((names: string[]) => {
      let command = root;
      for (const name of names) {
        const next = command.commands.find((child) => child.name() === name);
        if (!next) throw unknownCommand(command, name, path);
        command = next;
      }
      command.help();
    });
}

/** Columns that are enough for the text beside a name in a command's help; where fewer are left it is not wrapped. */
const helpColumns = 30;

/**
 * Errors of every command and its subcommands end in what to run next, and throw instead of exiting; help fits
 * 80 columns.
 */
function configure(command: Command, path: string): void {
  command.configureHelp({ minWidthToWrap: helpColumns });
  command.configureOutput({ outputError: () => {} }); // it is shown once it is explained
  command.showSuggestionAfterError(false).exitOverride((error) => {
    throw explain(error, command, path);
  });
  for (const child of command.commands) configure(child, `${path} ${child.name()}`);
}

function exitStatus(error: unknown): number {
  // Commander has printed help, because it was asked to or because there was no command.
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

setVoice("flags");
const fail = (error: unknown) => {
  process.exitCode = exitStatus(error);
};
const unlisten = listenForEarlyEnd(fail);
await program().parseAsync().catch(fail);
unlisten();
