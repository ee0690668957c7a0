// The command of this package as the user typed it, for messages that say what to run next.

import { readFileSync, realpathSync } from "node:fs";
import { basename, delimiter, dirname, extname } from "node:path";
import { fileURLToPath } from "node:url";
import { printable } from "./words.js";

/** What a launcher's command was called, in its workers' environment. */
export const commandVariable = "ONEHOUR_COMMAND";

/** The module that the command runs. */
export const commandModule = fileURLToPath(
  new URL(`../cli/main${extname(import.meta.url)}`, import.meta.url),
);

/** How a process of Node was started. */
interface Start {
  /** The script as it was typed, or as the shell or npm found it; absent without one. */
  script: string | undefined;
  /** Node as it was typed, and its own options. */
  node: readonly string[];
  env: Readonly<Record<string, string | undefined>>;
}

/** What begins a command line of this package that can be typed where the process was started. */
export function commandOf({ script, node, env }: Start): string {
  if (env[commandVariable]) return env[commandVariable];
  const own = script !== undefined && isLinkTo(commandModule, script);
  // A user's own program is not the command; npm's links are not where the shell looks.
  const link = own && extname(script) === "";
  if (!own || (link && env.npm_command !== undefined)) return "npx onehour";
  if (!link) return [...node, script].map(quoted).join(" ");
  const isFound = (env.PATH ?? "").split(delimiter).includes(dirname(script));
  return quoted(isFound ? basename(script) : script);
}

function isLinkTo(file: string, link: string): boolean {
  try {
    return realpathSync(link) === realpathSync(file);
  } catch {
    return false;
  }
}

/** The script's word of this process' command line; `process.argv` holds it as an absolute path. */
function scriptAsTyped(): string | undefined {
  if (process.argv[1] === undefined) return undefined;
  try {
    return readFileSync("/proc/self/cmdline", "utf8").split("\0")[1 + process.execArgv.length];
  } catch {
    return process.argv[1];
  }
}

let known: string | undefined;

/** A command line of this package to type: `commandLine("train", "--out", folder)`. */
export function commandLine(...words: string[]): string {
  known ??= commandOf({
    script: scriptAsTyped(),
    node: [process.argv0, ...process.execArgv],
    env: process.env,
  });
  return [known, ...words.map(quoted)].join(" ");
}

/** What continues the run of a folder. */
export const resumeCommand = (out: string) => commandLine("train", "--resume", "--out", out);

/**
 * What continues the run of a folder; `isApart` where a command for each node, or one of an engine, has started it.
 */
export function continuation(out: string, isApart: boolean): string {
  if (!isApart) return resumeCommand(out);
  return `the same command again wherever you typed it, with --resume auto --out ${quoted(out)}`;
}

/** A word as a shell takes it for one, and a terminal shows it. */
export function quoted(word: string): string {
  if (printable(word) !== word) return `$'${printable(word.replace(/[\\']/g, "\\$&"))}'`;
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
