// What of a log line does not depend on the clock.
import type { LogLine } from "../../lib/run-folder/log-lines.js";

const timed: ReadonlySet<string> = new Set([
  ...["seconds", "imagesPerSecond", "inputWait", "compute", "exposedCommunication", "update"],
]);

/** The fields of a line that are the same when the run is repeated. */
export const lasting = (line: LogLine) =>
  Object.fromEntries(Object.entries(line).filter(([name]) => !timed.has(name)));
