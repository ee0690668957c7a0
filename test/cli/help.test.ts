// The help of every command on terminals of different widths.
import type { Command } from "commander";
import { expect, test } from "vitest";
import { program } from "../../lib/cli/commands.js";
import { width } from "../../lib/terminal/columns.js";
import { commandLine } from "../../lib/text/command.js";

const all = (command: Command): Command[] => [command, ...command.commands.flatMap(all)];

/** The help that a command prints on a terminal of so many columns, as a user of the package gets it. */
function helpOf(command: Command, columns: number): string {
  let text = "";
  command.configureOutput({
    getOutHelpWidth: () => columns,
    writeOut: (part) => {
      text += part;
    },
  });
  command.outputHelp();
  return text.replaceAll(commandLine(), "npx onehour");
}

const pathOf = (command: Command): string =>
  command.parent ? `${pathOf(command.parent)} ${command.name()}` : command.name();

test.each(all(program()).map((command) => [pathOf(command), command] as const))(
  "the help of %s fits its terminal and says what each part is for",
  (path, command) => {
    for (const columns of [80, 120, 160]) {
      const lines = helpOf(command, columns).split("\n");
      expect(lines[0]).toMatch(`Usage: ${path}`);
      expect(lines.filter((line) => width(line) > columns)).toEqual([]);
    }
    // Each flag and argument with its text beside it, which begins in one column.
    const wide = helpOf(command, 160).split("\n");
    const flags = wide.filter((line) => /^ {2}(-\w, )?--[a-z]/.test(line));
    expect(flags.filter((line) => !/^ {2}\S.*? {2,}\S/.test(line))).toEqual([]);
    expect(new Set(flags.map((line) => /^ {2}\S.*? {2,}/.exec(line)![0].length)).size).toBe(1);
    expect(command.description()).toMatch(/^[A-Z].*\.$/);
  },
);
