// The commands of `onehour`, and what they have in common.

import { Command } from "commander";
import { version } from "../system/version.js";
import { commandLine } from "../text/command.js";
import { benchCommand } from "./bench.js";
import { buildCommand } from "./build.js";
import { doctorCommand } from "./doctor.js";
import { evaluateCommand } from "./evaluate.js";
import { experimentCommand } from "./experiment.js";
import { launchCommand } from "./launch.js";
import { planCommand } from "./plan.js";
import { reportCommand } from "./report.js";
import { trainCommand } from "./train.js";
import { explain, unknownCommand } from "./usage.js";

const commands = [
  trainCommand,
  evaluateCommand,
  launchCommand,
  benchCommand,
  planCommand,
  experimentCommand,
  doctorCommand,
  reportCommand,
  buildCommand,
];

/** The `onehour` command with all its subcommands. */
export function program(): Command {
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
