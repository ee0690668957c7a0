// The program of the `onehour` command: parses the command line, runs one command, turns errors into
// exit statuses. 0 success, 1 a failed run, 2 wrong usage, 128 and a signal's number after that.

import { CommanderError } from "commander";
import { OnehourError } from "../errors.js";
import { listenForEarlyEnd } from "../modules/early-end.js";
import { setVoice } from "../recipe/voice.js";
import { printed } from "../system/output.js";
import { explainSystemError } from "../system/system-errors.js";
import { oneLine, printable } from "../text/words.js";
import { program } from "./commands.js";
import { isUsageError } from "./values.js";

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
// A process that Node ends by itself no longer listens for its last tenth of a second. A signal that comes then, for
// engines signal one rank after another, would take the place of this status.
if (Number(process.exitCode) > 128) {
  await printed();
  process.exit();
}
