// Parses command lines of deploy/ and the pages as the command does, without running them.
import { trainCommand } from "../../lib/cli/train.js";

/** The options of `onehour train …`; throws for an option or a value that there is not, and for another command. */
export function parsed([name = "", ...args]: readonly string[]): Record<string, unknown> {
  if (name !== "train") throw new Error(`expected onehour train, not "${name}"`);
  const command = trainCommand();
  command.exitOverride().configureOutput({ outputError: () => {} });
  const { unknown } = command.parseOptions(args);
  if (unknown.length > 0) throw new Error(`no such flags: ${unknown}`);
  return command.opts();
}
