#!/usr/bin/env node
// The `onehour` command: guards the process before anything else is loaded, then runs the program.
import "../ranks/guard.js";
import { explainSystemError } from "../system/system-errors.js";
import { oneLine } from "../text/words.js";

try {
  await import("./program.js");
} catch (error) {
  const text = explainSystemError(error);
  if (text === undefined) throw error;
  process.stderr.write(`onehour: ${oneLine(text)}\n`);
  process.exitCode = 1;
}
