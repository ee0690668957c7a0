// The trainings of the engines' tests: short epochs, so that there is always a fresh checkpoint, and
// losses that do not depend on where the ranks are or how often a run was cut.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { main } from "../cli/command.js";
import { stepsOf } from "../support/folder.js";
import { start, until } from "../support/process.js";

interface Training {
  /** Steps in all; 100 take about a second. */
  steps: number;
  more?: readonly string[];
}

/** The command, for an engine to start. */
export function train(out: string, { steps, more = [] }: Training): string[] {
  return [
    ...[process.execPath, main, "train", "synthetic:16x16x3:10:320", "--model", "resnet8"],
    ...["--batch", "8", "--threads", "1", "--epochs", "1000", "--milestones", "none"],
    ...["--steps", String(steps), "--out", out, ...more],
  ];
}

/** Resolves when the run has logged this step. */
export async function reaches(out: string, step: number): Promise<void> {
  const log = join(out, "log.jsonl");
  await until(() => existsSync(log) && readFileSync(log, "utf8").includes(`"step":${step},`));
}

const references = new Map<string, Promise<Losses>>();
type Losses = ReturnType<typeof stepsOf>;

/**
 * The losses of the same training by `workers` on one machine, unbroken. They meet over sockets, as
 * ranks of several hosts do: through shared memory more than two ranks add up in another order.
 */
export async function unbroken(folder: string, workers: number, steps: number): Promise<Losses> {
  const out = join(folder, `unbroken-${workers}-${steps}`);
  const known = references.get(out) ?? run();
  references.set(out, known);
  return await known;

  async function run(): Promise<Losses> {
    const more = ["--workers", String(workers)];
    const { status, stderr } = await start(train(out, { steps, more }), {
      env: { ONEHOUR_SHM_DISABLE: "1" },
    }).ended;
    if (status !== 0) throw new Error(`the unbroken run fails: ${stderr}`);
    return stepsOf(out);
  }
}
