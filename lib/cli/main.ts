#!/usr/bin/env node
// The `onehour` command: guards the process before anything else is loaded, then runs the program. It imports nothing
// itself, for where too few files may be open even that fails.

/** One line for an error of the system; undefined for any other error. */
async function explain(error: unknown): Promise<string | undefined> {
  try {
    const { explainSystemError } = await import("../system/system-errors.js");
    const { oneLine } = await import("../text/words.js");
    const text = explainSystemError(error);
    return text && oneLine(text);
  } catch {
    if ((error as { code?: string }).code !== "EMFILE") return undefined;
    return "too many files are open, before anything is loaded. Raise the limit before the command: ulimit -n 1024";
  }
}

try {
  await import("../ranks/guard.js");
  await import("./program.js");
} catch (error) {
  const text = await explain(error);
  if (text === undefined) throw error;
  process.stderr.write(`onehour: ${text}\n`);
  process.exitCode = 1;
}
