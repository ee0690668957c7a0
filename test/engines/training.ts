// The trainings of the engines' tests: short epochs, so that there is always a fresh checkpoint, and
// losses that do not depend on where the ranks are or how often a run was cut.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { main } from "../cli/command.js";
import { stepsOf } from "../support/folder.js";
import { hasEnded, type Run, start, until } from "../support/process.js";

interface Training {
  /** Steps in all; 100 take about a second. */
  steps: number;
  data?: string;
  more?: readonly string[];
}

/** The command, for an engine to start. */
export function train(
  out: string,
  { steps, data = "synthetic:16x16x3:10:320", more = [] }: Training,
): string[] {
  return [
    ...[process.execPath, main, "train", data, "--model", "resnet8"],
    ...["--batch", "8", "--threads", "1", "--epochs", "1000", "--milestones", "none"],
    ...["--steps", String(steps), "--out", out, ...more],
  ];
}

/** Makes one command start a run and continue it. */
export const auto = ["--resume", "auto"];

/** Resolves when the run has logged this step; throws if the process ends before that. */
export async function reaches(out: string, step: number, run?: Run): Promise<void> {
  const log = join(out, "log.jsonl");
  const logged = () => existsSync(log) && readFileSync(log, "utf8").includes(`"step":${step},`);
  const ended = () => run !== undefined && hasEnded(run);
  await until(() => logged() || ended());
  if (!logged()) throw new Error(`ended before step ${step}: ${run!.stderr}`);
}

/** What names a node of several with two workers each, or its workers. */
export function naming(node: number, host: string): RegExp {
  const [first, second] = [2 * node, 2 * node + 1];
  return new RegExp(
    `node ${node} \\(host ${host}, |rank [${first}${second}] on ${host}|ranks ${first} and ${second} on ${host}`,
  );
}

type Losses = ReturnType<typeof stepsOf>;

const references = new Map<string, Promise<Losses>>();

/**
 * The losses of the same training by `workers` on one machine, unbroken. They meet over sockets, as
 * ranks of several hosts do: through shared memory more than two ranks add up in another order.
 */
export async function unbroken(folder: string, workers: number, steps: number): Promise<Losses> {
  const out = join(folder, `unbroken-${workers}-${steps}`);
  return await lossesOf(out, [...train(out, { steps }), "--workers", String(workers)]);
}

/** The losses of the run that a command trains into `out`; a second call trains no more. */
export async function lossesOf(out: string, command: readonly string[]): Promise<Losses> {
  const losses = references.get(out) ?? run();
  references.set(out, losses);
  return await losses;

  async function run(): Promise<Losses> {
    const { status, stderr } = await start(command, { env: { ONEHOUR_SHM_DISABLE: "1" } }).ended;
    if (status !== 0) throw new Error(`the unbroken run fails: ${stderr}`);
    return stepsOf(out);
  }
}
