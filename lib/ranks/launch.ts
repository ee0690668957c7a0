// Starts k workers on this machine, shows their output, watches over them and ends them together.
import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import { requireProcesses } from "../device/cores.js";
import { requireOptions } from "../recipe/options.js";
import { listenForLosses } from "../system/output.js";
import { printable } from "../text/words.js";
import { Crew } from "./crew.js";
import { Judge, type Outcome } from "./judge.js";
import { RendezvousServer } from "./rendezvous-server.js";
import { listenForEnd } from "./signals.js";

/** What to start and how to watch it. */
export interface LaunchOptions {
  /** k, the number of processes. */
  workers: number;
  /** Node's arguments for a rank: the module to run and its own arguments. */
  command: (rank: number) => string[];
  /** Seconds without progress after which a rank that others wait for counts as hung. */
  timeoutSeconds: number;
  /** What a user does whose steps take longer; "raise timeoutSeconds" by default. */
  remedy?: string;
  /** Added to this process' environment. */
  env?: Record<string, string>;
  /** Takes a worker's line of output; by default it goes where the worker wrote it. */
  onLine?: (rank: number, line: string, stream: "stdout" | "stderr") => void;
  /**
   * Takes the cause of a failed run, one line that names the rank and its error, after the details
   * (a stack, the table of a hang) were shown, and the error's code if it had one; by default the
   * cause is shown as the last line of stderr.
   */
  onFailure?: (cause: string, code?: string) => void;
}

const optionNames = [
  "workers",
  "command",
  "timeoutSeconds",
  "remedy",
  "env",
  "onLine",
  "onFailure",
] as const satisfies (keyof LaunchOptions)[];

const tickSeconds = 0.2;

/**
 * Starts k workers and resolves to the exit status when all have ended: 0 on success, 1 when one failed or hung,
 * 128 and the signal's number after one of `signals.ts` to this process, or to a worker whose training it ended.
 * The first such signal to this process is passed on to the workers, so that they may save and end; a second one
 * kills them. When a worker fails, or makes no progress while the others wait or while it reads its data set, all
 * are ended within 5 s and the last line on stderr names the rank and its error. Throws ERR_ONEHOUR_USAGE for an
 * option that there is not. Call it on the main thread: workers end with the thread that started them.
 */
export async function launch(options: LaunchOptions): Promise<number> {
  requireOptions(options, "launch", optionNames);
  requireProcesses(options.workers);
  const outcome = await supervise(options);
  conclude(options, outcome);
  return outcome.status;
}

/** Starts the workers and follows them to their end. */
async function supervise(options: LaunchOptions): Promise<Outcome> {
  const { workers, timeoutSeconds, remedy, command, env = {}, onLine = showLine } = options;
  const token = randomBytes(32).toString("hex");
  const server = await RendezvousServer.listen({ worldSize: workers, token });
  let crew: Crew | undefined;
  const judge: Judge = new Judge([{ node: 0, host: hostname(), first: 0, workers }], {
    timeoutSeconds,
    remedy,
    placeOf: (rank) => {
      const key = server.waiting(rank)?.key;
      return key === undefined ? undefined : `at the rendezvous "${key}"`;
    },
    order: (order) => {
      if (order.type === "stop") crew?.stop();
      else crew?.signal(order.signal);
    },
  });
  const unlisten = listenForEnd((signal) => judge.hear(0, { type: "signal", signal }));
  const tick = setInterval(() => judge.check(), tickSeconds * 1000);
  let unlistenLosses = () => {};
  try {
    const place = { first: 0, workers, worldSize: workers };
    const rendezvous = `127.0.0.1:${server.port}`;
    crew = new Crew(
      { command, timeoutSeconds, env, onLine },
      { ...place, rendezvous, token },
      (report) => judge.hear(0, report),
    );
    unlistenLosses = listenForLosses((text) => crew?.tellLoss(text));
    await judge.ended;
    return judge.outcome();
  } finally {
    clearInterval(tick);
    crew?.kill();
    unlisten();
    unlistenLosses();
    await server.close();
  }
}

/** Shows what went wrong, the cause last. */
function conclude({ onFailure = showCause }: LaunchOptions, { cause, code, details }: Outcome) {
  if (cause === undefined) return;
  show(details);
  onFailure(cause, code);
}

function showCause(cause: string): void {
  show([`onehour: ${cause}`]);
}

function showLine(rank: number, line: string, stream: "stdout" | "stderr"): void {
  process[stream].write(rank === 0 ? `${line}\n` : `[${rank}] ${line}\n`);
}

function show(lines: readonly string[]): void {
  for (const line of lines) process.stderr.write(`${printable(line)}\n`);
}
