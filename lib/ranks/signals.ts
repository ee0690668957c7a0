// The signals that end a run, their exit statuses, and when SIGHUP does not end it.
import inspector from "node:inspector";
import { constants } from "node:os";
import { isatty } from "node:tty";

const all = ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"] as const;

/** A signal after which a run saves and ends. */
export type EndingSignal = (typeof all)[number];

/** Whether a name is that of such a signal. */
export function isEndingSignal(name: unknown): name is EndingSignal {
  return (all as readonly unknown[]).includes(name);
}

/** Exit status of what a signal ended: 130 for SIGINT, 143, 129, 138 and 140 for the others. */
export function signalStatus(signal: NodeJS.Signals): number {
  return 128 + constants.signals[signal];
}

/** The signal that an exit status stands for. */
export function signalOf(status: number): EndingSignal | undefined {
  return all.find((signal) => signalStatus(signal) === status);
}

/** The variable that says to worker processes, which never have a terminal, whether their launcher ignores SIGHUP. */
export const hangupVariable = "ONEHOUR_HANGUP";

/**
 * Whether this process goes on when a terminal is closed: none of its streams is on one, as under
 * nohup. That SIGHUP was ignored at the start cannot be known: Node listens to it before any module
 * is loaded.
 */
export function ignoresHangup(): boolean {
  const given = process.env[hangupVariable];
  return given === undefined
    ? ![0, 1, 2].some((descriptor) => isatty(descriptor))
    : given === "ignored";
}

let isIgnoring = false;

/** Ignores SIGHUP from here on, and says so when the first one comes. */
function ignoreHangup(): void {
  if (isIgnoring) return;
  isIgnoring = true;
  let isSaid = false;
  process.on("SIGHUP", () => {
    if (!isSaid)
      process.stderr.write(
        "onehour: SIGHUP is ignored, for no terminal is attached (as under nohup); " +
          `to save and end: kill ${process.pid}\n`,
      );
    isSaid = true;
  });
}

/** The signals that end this process. */
function endingSignals(): EndingSignal[] {
  return all.filter((signal) => signal !== "SIGHUP" || !ignoresHangup());
}

/** Calls `listener` for every signal that is to end this process, until the function it returns is. */
export function listenForEnd(listener: (signal: EndingSignal) => void): () => void {
  const heard = endingSignals();
  if (ignoresHangup()) ignoreHangup();
  for (const signal of heard) process.on(signal, listener);
  return () => {
    for (const signal of heard) process.off(signal, listener);
  };
}

/** Gives this process a signal's exit status once it ends, as it does when the workers, which get the signal too, have. */
export function endAsSignalled(): void {
  listenForEnd((signal) =>
    process.once("exit", () => {
      process.exitCode = signalStatus(signal);
    }),
  );
}

// Where Node listens for a debugger that nobody has set up otherwise.
const debuggerUrl = /^ws:\/\/127\.0\.0\.1:9229\//;
const looks = [0, 10, 100, 1000]; // ms in which a debugger that was called for before may open

/**
 * Ends the process where SIGUSR1 came before any module was loaded: Node has then opened its debugger, or
 * is about to. Its port goes with the process: Node may crash where it is closed as it opens.
 */
function refuseDebugger(): void {
  const options = [...process.execArgv, process.env.NODE_OPTIONS ?? ""].join(" ");
  if (/--inspect/.test(options)) return;
  const look = () => {
    if (debuggerUrl.test(inspector.url() ?? "")) process.exit(signalStatus("SIGUSR1"));
  };
  look();
  for (const milliseconds of looks) setTimeout(look, milliseconds).unref();
}

let hasGuard = false;

/** Whether this process runs the command, or was started by it: not a user's program by itself. */
export const isGuarded = (): boolean => hasGuard;

/**
 * Ends the process with the signal's status on SIGUSR1 and SIGUSR2, unless something else listens. Without
 * a listener Node answers SIGUSR1 with a debugger on a port that every user of the machine may reach. In a
 * container's process 1 it does so on every signal: the kernel drops one that has no listener there.
 */
export function guardSignals(): void {
  hasGuard = true;
  refuseDebugger();
  if (ignoresHangup()) ignoreHangup();
  for (const signal of process.pid === 1 ? endingSignals() : (["SIGUSR1", "SIGUSR2"] as const))
    process.on(signal, () => {
      if (process.listenerCount(signal) === 1) process.exit(signalStatus(signal));
    });
}
