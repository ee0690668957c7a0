// `--requeue`: asks Slurm to run the job again that a signal of preemption has ended, once its run is saved.
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import type { Environment } from "../system/variables.js";
import { oneLine } from "../text/words.js";
import { refuseOption } from "./cluster-options.js";
import { listenForEnd, signalOf, signalStatus } from "./signals.js";

const run = promisify(execFile);

/** Signals by which Slurm takes a job its nodes; the others are a person's. */
const preempting: readonly NodeJS.Signals[] = ["SIGUSR1", "SIGUSR2", "SIGTERM"];
const mostMilliseconds = 60_000;

/** The job of this process as scontrol knows it: of an array, this task alone. */
function jobOf(env: Environment): string | undefined {
  const { SLURM_ARRAY_JOB_ID: array, SLURM_ARRAY_TASK_ID: task, SLURM_JOB_ID: job } = env;
  return array !== undefined && task !== undefined ? `${array}_${task}` : job;
}

/** Refuses `--requeue` where there is no job. Throws ERR_ONEHOUR_USAGE. */
export function requireJob(env: Environment = process.env): void {
  if (jobOf(env) === undefined)
    throw refuseOption(
      "requeue",
      "there is no job of Slurm's here to run again (SLURM_JOB_ID is not set); leave it out, or submit the " +
        "command with sbatch",
    );
}

/**
 * Asks Slurm to run this job again, after `signal` has ended its run and all is saved: Slurm ends what is left of
 * the job at once. To be called by one process of the job. `say` takes what was done, or why it was not.
 */
async function requeue(signal: NodeJS.Signals, say: (text: string) => void): Promise<void> {
  const job = jobOf(process.env)!;
  if (!preempting.includes(signal)) {
    say(`job ${job} is not queued again, for ${signal} is no signal of Slurm's`);
    return;
  }
  listenForEnd(() => {}); // Slurm's next signal, which the job's end brings, is not to change the exit status
  if (signal === "SIGTERM" && (await isEnding(job))) {
    say(`job ${job} is not queued again, for Slurm is ending it already, as scancel has it do`);
    return;
  }
  try {
    await scontrol("requeue", job);
    say(`Slurm runs job ${job} again (scontrol requeue ${job})`);
  } catch (error) {
    const { stderr = "", message } = error as Error & { stderr?: string };
    say(
      `warning: Slurm does not run job ${job} again: scontrol requeue ${job} failed ` +
        `(${oneLine(stderr.trim() || message)}). Only jobs of sbatch can be queued again, where the cluster ` +
        "allows it and scontrol is on PATH; submit the same command once more, and --resume auto continues the run",
    );
  }
}

/** As `requeue`, where the status with which a launch ended is that of a signal. */
export async function requeueAfter(status: number, say: (text: string) => void): Promise<void> {
  const signal = signalOf(status);
  if (signal !== undefined) await requeue(signal, say);
}

/**
 * Trains, and asks Slurm to run the job again where a signal ends the training: also where it comes before training
 * listens itself, while the data set opens or the ranks meet. Then this process ends with the signal's status.
 */
export async function requeueing<T extends { signal?: NodeJS.Signals }>(
  train: () => Promise<T>,
  say: (text: string) => void,
): Promise<T> {
  const own = preempting.map((signal) => ({ signal, idle: process.listenerCount(signal) + 1 }));
  let early: Promise<never> | undefined;
  const end = async (signal: NodeJS.Signals): Promise<never> => {
    await requeue(signal, say);
    process.exit(signalStatus(signal));
  };
  const listen = (signal: NodeJS.Signals) => {
    const isIdle = own.some(
      (one) => one.signal === signal && process.listenerCount(signal) === one.idle,
    );
    if (isIdle) early ??= end(signal);
  };
  for (const { signal } of own) process.on(signal, listen);
  try {
    const result = await train();
    if (result.signal && !early) await requeue(result.signal, say);
    return result;
  } finally {
    await early; // what other ranks made of the signal is no failure
    for (const { signal } of own) process.off(signal, listen);
  }
}

async function scontrol(...args: string[]): Promise<string> {
  const { stdout } = await run("scontrol", args, { timeout: mostMilliseconds });
  return stdout;
}

/** Whether Slurm is ending the job for another reason than its time limit: SIGTERM is scancel's too. */
async function isEnding(job: string): Promise<boolean> {
  try {
    const text = await scontrol("show", "job", "--oneliner", job);
    return /\bJobState=\S*(CANCELLED|COMPLETING)/.test(text) && !/\bReason=TimeLimit\b/.test(text);
  } catch {
    return false; // the request itself will fail, and say why
  }
}
