// Starts the workers of a run on this machine, or on several, shows their output, watches over them and ends them
// together.
import { requireProcesses } from "../device/cores.js";
import { requireOptions } from "../recipe/options.js";
import { version } from "../system/version.js";
import type { Stage } from "../terminal/stages.js";
import { printable } from "../text/words.js";
import { type Cluster, oneMachine, readPart } from "./cluster.js";
import { type ClusterOptions, clusterName } from "./cluster-options.js";
import { follow, lastWords } from "./follow.js";
import type { Outcome } from "./judge.js";
import { type Duty, lead, type StartPlan } from "./lead.js";
import { requeueAfter } from "./requeue.js";

/** What to start and how to watch it. */
export interface LaunchOptions {
  /** k, the number of processes on all machines. */
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
  /** The machines to start them on, each by a call of its own; this one alone by default. */
  cluster?: ClusterOptions;
}

/** A launch whose machines are known. */
export interface ClusterLaunch extends Omit<LaunchOptions, "workers" | "cluster" | "env"> {
  cluster: Cluster;
  /** What must be alike on all nodes, by the name that a message gives it. */
  facts?: Record<string, unknown>;
  /** On node 0: what `env` is given on every node, at each start. */
  brief?: (start: StartPlan) => string | Promise<string>;
  /** On node 0: whether the run can have so many workers in all; always by default. */
  fits?: (workers: number) => boolean;
  /** On node 0: the steps done, where they are known. */
  steps?: () => number | undefined;
  /** Added to the environment of this node's workers. */
  env?: (brief: string) => Record<string, string>;
  /** Shows a line of what a supervisor does; on stderr by default. */
  say?: (text: string) => void;
  /** Shows what a supervisor waits for; nowhere by default. */
  show?: (stage: Stage) => void;
}

const optionNames = [
  "workers",
  "command",
  "timeoutSeconds",
  "remedy",
  "env",
  "onLine",
  "onFailure",
  "cluster",
] as const satisfies (keyof LaunchOptions)[];

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
  const { workers, env, cluster: given, ...others } = options;
  const part = given === undefined ? undefined : readPart(given, { workers, own: () => workers });
  const { cluster = oneMachine(workers) } = part ?? {};
  const status = await launchOn({
    ...others,
    cluster,
    ...(env === undefined ? {} : { env: () => env }),
  });
  if (given?.requeue && cluster.nodeRank === 0)
    await requeueAfter(status, (text) => showLines([`onehour: ${text}`]));
  return status;
}

/** Starts this node's workers, with the other nodes of the cluster; otherwise as `launch`. */
export async function launchOn(options: ClusterLaunch): Promise<number> {
  const { cluster, command, timeoutSeconds, remedy, facts, brief = () => "" } = options;
  const { fits = () => true, steps = () => undefined } = options;
  const {
    env = () => ({}),
    onLine = showLine,
    say = (text) => showLines([`onehour: ${text}`]),
    show = () => {},
  } = options;
  requireProcesses(cluster.workersPerNode);
  const duty: Duty = {
    ...{ cluster, timeoutSeconds, remedy, say, show, brief, fits, steps },
    facts: { version, ...factsOf(cluster), ...facts },
    crew: (text) => ({ command, timeoutSeconds, env: env(text), onLine }),
  };
  if (cluster.isPublic)
    process.emitWarning(
      `neither ${clusterName("tokenFile")} nor ONEHOUR_TOKEN gives a secret, so anyone who can reach ` +
        "node 0, or listens there before it does, and guesses the public name of this job may join as a " +
        "node or lead the others. Give all nodes a file with the same random text",
      { code: "ONEHOUR_TOKEN" },
    );
  const isLead = cluster.nodeRank === 0;
  const outcome = isLead ? await lead(duty) : await follow(duty);
  conclude(options, outcome);
  if (!isLead && outcome.cause === undefined) say(lastWords(duty, outcome));
  return outcome.status;
}

/** What must be alike on all nodes. */
function factsOf(cluster: Cluster): Record<string, unknown> {
  const names = ["nodes", "workersPerNode", "maxRestarts", "minNodes"] as const;
  return Object.fromEntries(names.map((name) => [clusterName(name), cluster[name]]));
}

/** Shows what went wrong, the cause last. */
function conclude(
  { onFailure = showCause }: Pick<LaunchOptions, "onFailure">,
  { cause, code, details }: Outcome,
): void {
  if (cause === undefined) return;
  showLines(details);
  onFailure(cause, code);
}

function showCause(cause: string): void {
  showLines([`onehour: ${cause}`]);
}

function showLine(rank: number, line: string, stream: "stdout" | "stderr"): void {
  process[stream].write(rank === 0 ? `${line}\n` : `[${rank}] ${line}\n`);
}

function showLines(lines: readonly string[]): void {
  for (const line of lines) process.stderr.write(`${printable(line)}\n`);
}
