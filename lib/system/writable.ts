// Whether a file can be written, before the work that makes its contents.
import { accessSync, closeSync, constants, openSync, statSync, unlinkSync } from "node:fs";
import { dirname } from "node:path";
import { UsageError } from "../errors.js";
import { shown } from "../text/words.js";
import { exists } from "./exists.js";

/**
 * Throws ERR_ONEHOUR_USAGE unless `path` is a file that this process may write, or can make in a folder
 * that is there; what it made to see that is gone again. `what` is what goes there, as "the chart".
 */
export function requireWritable(path: string, what: string): void {
  const refuse = (problem: string) =>
    new UsageError("ERR_ONEHOUR_USAGE", `${what} cannot be written to ${shown(path)}: ${problem}`);
  try {
    if (exists(path)) {
      if (statSync(path).isDirectory()) throw refuse("it is a folder; name a file in it");
      accessSync(path, constants.W_OK);
      return;
    }
    const folder = dirname(path);
    if (!exists(folder)) throw refuse(`there is no folder ${shown(folder)}; make it first`);
    if (!statSync(folder).isDirectory()) throw refuse(`${shown(folder)} is no folder`);
    closeSync(openSync(path, "wx"));
    unlinkSync(path);
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw refuse(`${(error as Error).message}; name another place`);
  }
}
