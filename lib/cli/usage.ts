// Explains a command line that commander cannot read, in this package's words, with what was probably meant.
import type { Command, CommanderError } from "commander";
import type { OnehourError } from "../errors.js";
import { meaning } from "../recipe/meant.js";
import { closestTo, plain } from "../text/nearest.js";
import { shown } from "../text/words.js";
import { usageError } from "./values.js";

/** Commands as other tools call them. */
const commandWords: Readonly<Record<string, string>> = {
  fit: "train",
  run: "train",
  resume: "train --resume --out FOLDER",
  eval: "evaluate",
  val: "evaluate",
  validate: "evaluate",
  test: "evaluate",
  predict: "evaluate",
  benchmark: "bench",
  torchrun: "launch",
  spawn: "launch",
  compile: "build",
  install: "build",
};

const didYouMean = (name: string | undefined) => (name ? `; did you mean ${name}?` : "");

/** The error for a name that is not a command's subcommand. */
export function unknownCommand(parent: Command, name: string, path: string): OnehourError {
  const names = parent.commands.map((command) => command.name());
  const known = parent.parent === null ? commandWords[plain(name)] : undefined;
  const meant = didYouMean(known ?? closestTo(name, names));
  return usageError(
    `there is no command ${shown(name)}${meant || `; there are ${names.join(", ")}.`} ${seeHelp(path)}`,
  );
}

/** The error for a flag that a command does not have: perhaps another tool's, or nearly right. */
function unknownFlag(command: Command, flag: string, path: string): OnehourError {
  const name = flag.split("=")[0]!;
  const known = command.options.flatMap(({ long }) => (long ? [long] : []));
  const places = command.registeredArguments.map((argument) => argument.name());
  const meant = meaning(name, [...known, ...places], "flags");
  return usageError(
    `${command.name()} has no flag ${shown(name).slice(1, -1)}${meant ? `; ${meant}` : "."} ${seeHelp(path)}`,
  );
}

const seeHelp = (path: string) => `Run \`${path} --help\` for what it takes.`;

/** Commander's error of a command line as ours; unchanged where it is the end of printed help. */
export function explain(error: CommanderError, command: Command, path: string): Error {
  const isHelp = /^commander\.(help|helpDisplayed|version)$/.test(error.code);
  if (isHelp) return error;
  const [, quoted = ""] = /'(.*?)'/s.exec(error.message) ?? [];
  if (error.code === "commander.unknownOption") return unknownFlag(command, quoted, path);
  if (error.code === "commander.unknownCommand") return unknownCommand(command, quoted, path);
  const text = error.message.replace(/^error: /, "").replace(/\.?$/, ".");
  return usageError(`${text} ${seeHelp(path)}`);
}
