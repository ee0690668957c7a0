// Parses command lines of deploy/ and the pages as the command does, without running them.
import type { Command } from "commander";
import { launchCommand } from "../../lib/cli/launch.js";
import { trainCommand } from "../../lib/cli/train.js";

const commands: Record<string, () => Command> = { train: trainCommand, launch: launchCommand };

/** The options of `onehour …`; throws for an option, a value or a command that there is not. */
export function parsed([name = "", ...args]: readonly string[]): Record<string, unknown> {
  const command = commands[name]?.();
  if (command === undefined) throw new Error(`no command "${name}" here`);
  command.exitOverride().configureOutput({ outputError: () => {} });
  const { unknown } = command.parseOptions(args);
  if (name === "train" && unknown.length > 0) throw new Error(`no such flags: ${unknown}`);
  return command.opts();
}
