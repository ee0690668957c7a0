#!/usr/bin/env node
// The `onehour` command: guards the process before anything else is loaded, then runs the program.
import "../distributed/guard.js";

await import("./program.js");
