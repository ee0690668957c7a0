// Runs one seed of file, clock and signal faults: a training meets them, resumes and meets more,
// and at last resumes without any.
import fs from "node:fs";
import { join } from "node:path";
import { jump } from "./clock.js";
import { Disk } from "./disk.js";
import { Draws } from "./draws.js";
import { Files, flipped, type Kind, withFaults } from "./files.js";
import { type Damage, drawPlan, type Plan, type Round } from "./plan.js";
import {
  difference,
  lastWhole,
  leftovers,
  type Outcome,
  run,
  type Trace,
  type Training,
  traceOf,
  trainings,
  unnamed,
} from "./training.js";

// Node's own functions, before faults are put into them.
const { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } = fs;

/** Result of a training without faults: what it left, and how many file operations it took. */
export interface Unbroken {
  trace: Trace;
  counts: Record<Kind, number>;
}

/** The unbroken run of each training. */
export async function runUnbroken(folder: string): Promise<Record<Training, Unbroken>> {
  const runs: Partial<Record<Training, Unbroken>> = {};
  for (const training of Object.keys(trainings) as Training[]) {
    const out = join(folder, `unbroken-${training}`);
    mkdirSync(out);
    const files = new Files(out, new Disk(out), []);
    const { status, error } = await withFaults(files, () => run(training, out, false));
    if (status !== "finished")
      throw new Error(`${training} fails without faults`, { cause: error });
    runs[training] = { trace: await traceOf(out), counts: files.counts };
  }
  return runs as Record<Training, Unbroken>;
}

const setAside = /of log\.jsonl cannot be read|log\.jsonl lacks/;

/** Damages one of a folder's files; returns its name. */
function damage(out: string, { file, effect, share, within }: Damage): string | undefined {
  const names = readdirSync(out).sort();
  const name = names[file % names.length];
  if (name === undefined) return undefined;
  const path = join(out, name);
  if (effect === "gone") {
    rmSync(path);
    return name;
  }
  const bytes = readFileSync(path);
  const length = Math.min(within, bytes.length);
  const at = Math.floor(share * length);
  const changes: Record<Exclude<Damage["effect"], "gone">, () => Buffer> = {
    flip: () => Buffer.concat([flipped(bytes.subarray(0, length), share), bytes.subarray(length)]),
    cut: () => bytes.subarray(0, at),
    zeros: () => Buffer.from(bytes).fill(0, at, Math.min(at + 512, bytes.length)),
    empty: () => Buffer.alloc(0),
    garbage: () => Buffer.concat([bytes, Buffer.from("garbage\n")]),
  };
  writeFileSync(path, changes[effect]());
  return name;
}

/** Runs a seed in `out`; throws where the product breaks a promise. */
export async function filesSeed(
  seed: number,
  out: string,
  unbroken: Record<Training, Unbroken>,
  report: (plan: Plan) => void,
): Promise<void> {
  const draws = new Draws(seed);
  const plan = drawPlan(draws, (training) => unbroken[training].counts);
  report(plan);
  await new FilesSeed(draws, plan, out, unbroken[plan.training].trace).check();
}

class FilesSeed {
  private readonly disk: Disk;
  /** Steps in the last checkpoint that is safe on the disk. */
  private safe: number | undefined;
  damaged = false;
  /** Lines of the log may be missing, or wrong. */
  holes = false;
  wrong = false;

  constructor(
    private readonly draws: Draws,
    private readonly plan: Plan,
    private readonly out: string,
    private readonly unbroken: Trace,
  ) {
    this.disk = new Disk(out);
    this.disk.adopt();
  }

  async check(): Promise<void> {
    for (const round of this.plan.rounds) await this.round(round);
    await this.settle();
  }

  private get began(): boolean {
    return readdirSync(this.out).length > 0;
  }

  /** Runs once under faults, then leaves its folder as the fault would. */
  private async round({ files: faults, jump: leap, signal, damage: harm }: Round): Promise<void> {
    const { out, disk, draws } = this;
    const files = new Files(out, disk, faults, () => this.noteSafe());
    const outcome = await withFaults(files, () =>
      run(this.plan.training, out, this.began, (event) => {
        if (event.type !== "step") return;
        if (event.step === leap?.step) jump(leap.milliseconds);
        if (event.step === signal?.step) process.emit(signal.name, signal.name);
      }),
    );
    const spoilt = [...files.met].some(({ effect }) => effect === "flip" || effect === "cut");
    if (spoilt) this.damaged = true;
    // What the disk has not taken by the end is lost, as is all that waits for it in a crash.
    const lost = files.end ? /cannot write to the log/ : /of the log could not be written/;
    if (lost.test(outcome.said) || setAside.test(outcome.said)) this.holes = true;
    if (files.end === undefined) this.requireNamed(outcome);
    if (files.end === "power") disk.lose(draws);
    const harmed = harm && damage(out, harm);
    if (harmed !== undefined) {
      this.damaged = true;
      if (harmed === "log.jsonl") this.holes = this.wrong = true; // its lines have no checksum
      disk.adopt();
    }
    await this.requireSafe();
  }

  private noteSafe(): void {
    const file = join(this.out, "checkpoint.safetensors");
    if (!existsSync(file)) return;
    const step = /"step":"(\d+)"/.exec(readFileSync(file).toString("latin1", 0, 100_000))?.[1];
    if (step !== undefined) this.safe = Number(step);
  }

  /** Requires the checkpoint that was safe on the disk, or a later one. */
  private async requireSafe(): Promise<void> {
    if (this.damaged || this.safe === undefined) return;
    const step = await lastWhole(this.out);
    if (step === undefined || step < this.safe) {
      throw new Error(`the checkpoint of step ${this.safe} is lost; there is ${step}`);
    }
  }

  private requireNamed({ error }: Outcome): void {
    const problem = error && unnamed(error);
    if (problem) throw new Error(problem);
  }

  /** Resumes without faults: requires the unbroken run's numbers, or a refusal with a reason. */
  private async settle(): Promise<void> {
    const whole = await lastWhole(this.out);
    const outcome = await run(this.plan.training, this.out, this.began);
    this.requireNamed(outcome);
    const { status, error, said } = outcome;
    if (setAside.test(said)) this.holes = true;
    if (error) {
      if (this.damaged || this.safe === undefined) return;
      throw new Error(`nothing is damaged, but it is refused: ${error.stack}`);
    }
    if (status !== "finished") throw new Error(`it ended as ${status}`);
    const from = Number(/(?:after|do:) (\d+) steps/.exec(said)?.[1] ?? 0);
    if (from < (whole ?? 0)) throw new Error(`it went on after ${from} steps instead of ${whole}`);
    const found = await traceOf(this.out, this);
    const problem = difference(this.unbroken, found, this);
    if (problem) throw new Error(problem);
    const left = leftovers(this.out);
    if (left.length > 0) throw new Error(`${left.join(", ")} lie in the run folder at the end`);
  }
}
