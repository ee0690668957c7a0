// What a worker reports to its launcher of the error that ends it. Apart from worker.ts, which acts when it is
// loaded: Node's --import and jiti, which loads TypeScript, each load a module once.
import { inspect } from "node:util";
import { OnehourError } from "../errors.js";
import { filesLimit, isOutOfFiles } from "../system/system-errors.js";

/** The last line of a failing worker on its heartbeat pipe. */
export interface ErrorReport {
  error: {
    message: string;
    code: string | undefined;
    stack: string[];
    /** A broken collective or rendezvous: some other rank is the cause. */
    secondary: boolean;
  };
}

const secondaryCodes = new Set(["ERR_COLLECTIVE", "ERR_ONEHOUR_RENDEZVOUS"]);
// A report is written in one piece to the pipe of the heartbeats, which never tears so few bytes apart.
const reportLimit = 4000;
const stackLimit = 8; // frames

// The package's own modules: where they throw our errors means nothing to a user.
const own = new URL("..", import.meta.url);
/** Node itself, and what loads a user's module: their frames explain no error. */
const loaders = /\bnode:|\/(load-module|load-hooks|transpile|ranks\/run-script)\.js:/;

/** Whether a frame of a stack is of a module that is not ours; "at Array.forEach (<anonymous>)" is of none. */
const isElsewhere = (frame: string) => /:\d+\)?$/.test(frame) && !frame.includes(own.pathname);

/** The report of an error for the launcher, at most 4000 bytes of JSON. */
export function reportOf(thrown: unknown): ErrorReport {
  const { code, stack } = thrown instanceof Error ? (thrown as NodeJS.ErrnoException) : {};
  const error = {
    message: (isOutOfFiles(thrown) ? filesLimit() : describe(thrown)).slice(0, reportLimit),
    code,
    stack: isOutOfFiles(thrown)
      ? []
      : [...placeOf(thrown), ...(stack?.split("\n") ?? [])]
          .filter((line) => /^\s+at /.test(line) && !loaders.test(line))
          .filter((line) => !(thrown instanceof OnehourError) || isElsewhere(line))
          .slice(0, stackLimit),
    secondary: isSecondary(thrown),
  };
  while (Buffer.byteLength(JSON.stringify({ error })) > reportLimit) {
    if (error.stack.length > 0) error.stack.pop();
    else error.message = `${error.message.slice(0, 0.8 * error.message.length)}…`;
  }
  return { error };
}

/** The place where Node could not read a module: it stands before the error's own text. */
function placeOf(error: unknown): string[] {
  const place = error instanceof SyntaxError && /^(\S.*:\d+)\n/.exec(error.stack ?? "")?.[1];
  return place ? [`    at ${place}`] : [];
}

/** The message with its causes; the class too where there is no code. */
function describe(error: unknown): string {
  if (!(error instanceof Error)) return `threw ${inspect(error)}`;
  const { name, message, code, cause } = error as NodeJS.ErrnoException;
  const text = code === undefined ? `${name}: ${message}` : message;
  const isShown = cause === undefined || (cause instanceof Error && text.includes(cause.message));
  return isShown ? text : `${text}; caused by ${describe(cause)}`;
}

/** Whether an error is a broken wait for others: then another rank is the cause. */
export function isSecondary(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (secondaryCodes.has((cause as NodeJS.ErrnoException).code ?? "")) return true;
  }
  return false;
}
