#!/usr/bin/env node
// The `onehour` command: guards the process before anything else is loaded, then runs the program. It imports nothing
// itself, for where too few files may be open even that fails.

/** One line for an error of the system; undefined for any other error. */
let explain = (error: unknown): string | undefined =>
  (error as { code?: string }).code === "EMFILE"
    ? "too many files are open, before anything is loaded. Raise the limit before the command: ulimit -n 1024"
    : undefined;

try {
  await import("../ranks/guard.js");
  // Before the program, whose modules are opened many at a time: one that could not be is not loaded again.
  const { explainSystemError } = await import("../system/system-errors.js");
  const { oneLine } = await import("../text/words.js");
  explain = (error) => {
    const text = explainSystemError(error);
    return text && oneLine(text);
  };
  await import("./program.js");
} catch (error) {
  const text = explain(error);
  if (text === undefined) throw error;
  process.stderr.write(`onehour: ${text}\n`);
  process.exitCode = 1;
}
