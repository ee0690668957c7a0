// Conducts the runs of an experiment: some side by side, until all are over, the budget is spent or a signal comes.
import { resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { OnehourError } from "../errors.js";
import { type EndingSignal, listenForEnd } from "../ranks/signals.js";
import { currentVoice } from "../recipe/voice.js";
import { seconds } from "../system/clock.js";
import { readSpent, type Spent, writeSpent } from "./folder.js";
import type { ExperimentSettings } from "./options.js";
import { type RunFailure, RunProcess } from "./processes.js";
import { type RunRecord, readRecord, runsName } from "./records.js";
import { type Course, nextTask, secondsLeft, type Task, type TaskState } from "./schedule.js";

/** Where an experiment stands. */
export interface Standing {
  /** Of the runs that are to be. */
  done: number;
  runs: number;
  /** The share of all runs' steps. */
  share: number;
  /** The names of what runs. */
  running: string[];
  /** Until the end, where it is known. */
  secondsLeft: number | undefined;
}

export interface Conduct {
  settings: ExperimentSettings;
  tasks: readonly Task[];
  /** Of the data set. */
  images: number;
  classes: number;
  jobs: number;
  /** Of a run on the CPU; undefined on a GPU. */
  threads: number | undefined;
  /** Processors of this process, where runs are bound to some of them. */
  processors: readonly number[] | undefined;
  /** The first run is about to be begun, or continued. */
  onBegin: (standing: Standing, soFar: SoFar) => Promise<void>;
  onStanding: (standing: Standing) => void;
  /** A run has ended, for good or not. */
  onRecord: (record: RunRecord, standing: Standing, soFar: SoFar) => Promise<void>;
  /** An error is about to end it. */
  onAbort: (soFar: SoFar) => Promise<void>;
}

export interface SoFar extends Spent {
  records: RunRecord[];
}

export interface Conducted extends SoFar {
  status: "finished" | "out of time" | "interrupted";
  signal?: EndingSignal;
}

/** Seconds between two looks at the clock, and two notes of what is spent: so much a kill may lose. */
const tick = 0.5;
const noteInterval = 1;
/** So many runs that fail before any has ended have one cause, which the others would have too. */
const mostFailures = 3;

interface Running {
  process: RunProcess;
  /** Which of the jobs it is. */
  slot: number;
  /** Resolves when the process has ended and its run was read. */
  over: Promise<void>;
}

class Conductor {
  private readonly records = new Map<string, RunRecord>();
  private readonly running = new Map<Task, Running>();
  /** Failed under this process; another may try them again. */
  private readonly failed = new Set<string>();
  /** When this process began to run anything: a look at what is there takes nothing of the budget. */
  private started: number | undefined;
  private earlier: Spent = { seconds: 0, processes: 0 };
  private noted = Number.NEGATIVE_INFINITY;
  private signal: EndingSignal | undefined;
  /** The first error of what follows a run's end. */
  private broken: unknown;
  private isStopping = false;
  /** What follows the runs' ends, one after the other. */
  private following: Promise<void> = Promise.resolve();

  constructor(private readonly options: Conduct) {}

  private get spent(): Spent {
    const { started, earlier } = this;
    if (started === undefined) return earlier;
    return {
      seconds: earlier.seconds + seconds() - started,
      processes: earlier.processes + 1,
    };
  }

  /** The runs in the order of their tasks. */
  private get soFar(): SoFar {
    const records = this.options.tasks.flatMap(({ name }) => this.records.get(name) ?? []);
    return { records, ...this.spent };
  }

  private readonly stateOf = (task: Task): TaskState => {
    const record = this.records.get(task.name);
    const { process } = this.running.get(task) ?? {};
    const isOver =
      this.failed.has(task.name) || record?.status === "finished" || record?.status === "diverged";
    return {
      isOver,
      isRunning: process !== undefined,
      done: process?.done ?? record?.done ?? 0,
      ...(record?.status === "finished" ? { seconds: record.seconds } : {}),
    };
  };

  private get course(): Course {
    const { tasks, images, settings } = this.options;
    const { stateOf } = this;
    return { tasks, stateOf, images, left: settings.budget - this.spent.seconds };
  }

  private standing(): Standing {
    const { tasks, jobs } = this.options;
    const states = tasks.map(this.stateOf);
    return {
      done: states.filter(({ isOver }) => isOver).length,
      runs: tasks.length,
      share: states.reduce((sum, { isOver, done }) => sum + (isOver ? 1 : done), 0) / tasks.length,
      running: [...this.running.keys()].map(({ name }) => name),
      secondsLeft: secondsLeft(this.course, jobs),
    };
  }

  async run(): Promise<Conducted> {
    const { out } = this.options.settings;
    this.earlier = await readSpent(out);
    for (const task of this.options.tasks) await this.read(task);
    try {
      return await this.runAll();
    } catch (error) {
      await this.options.onAbort(this.soFar);
      throw error;
    }
  }

  /** Runs what is left. */
  private async runAll(): Promise<Conducted> {
    const { out } = this.options.settings;
    if (nextTask(this.course)) {
      this.started = seconds();
      await this.note();
      await this.options.onBegin(this.standing(), this.soFar);
    }
    const unlisten = listenForEnd((signal) => {
      this.signal ??= signal;
      this.stopAll();
    });
    try {
      while (this.deal()) {
        await Promise.race([sleep(1000 * tick), ...this.ends()]);
        await this.note();
        if ((this.course.left <= 0 || this.broken) && !this.isStopping) this.stopAll();
        this.options.onStanding(this.standing());
      }
    } finally {
      this.stopAll();
      await Promise.all(this.ends());
      // What follows the last run's end: the caller writes the same files next.
      await this.following;
      unlisten();
      await writeSpent(out, this.spent);
    }
    if (this.broken) throw this.broken;
    const isDone = this.options.tasks.every((task) => this.stateOf(task).isOver);
    return {
      ...this.soFar,
      status: this.signal ? "interrupted" : isDone ? "finished" : "out of time",
      ...(this.signal ? { signal: this.signal } : {}),
    };
  }

  /** Begins what there is room for; whether anything runs. */
  private deal(): boolean {
    const { jobs } = this.options;
    while (!this.signal && !this.broken && this.running.size < jobs) {
      const task = nextTask(this.course);
      if (!task) break;
      this.begin(task);
    }
    return this.running.size > 0;
  }

  private begin(task: Task): void {
    const { settings, threads, processors, jobs } = this.options;
    const taken = new Set([...this.running.values()].map(({ slot }) => slot));
    const slot = Array.from({ length: jobs }, (_, i) => i).find((i) => !taken.has(i))!;
    const own = threads && processors?.slice(slot * threads, (slot + 1) * threads);
    const process = new RunProcess(
      {
        recipe: {
          ...task.point.recipe,
          ...(threads === undefined ? {} : { threads }),
          seed: task.seed,
          out: resolve(settings.out, runsName, task.name),
        },
        ...(own ? { processors: own } : {}),
        voice: currentVoice(),
      },
      this.records.get(task.name)?.done ?? 0,
    );
    const over = process.ended.then((failure) => this.follow(() => this.end(task, failure)));
    this.running.set(task, { process, slot, over });
  }

  private follow(work: () => Promise<void>): Promise<void> {
    this.following = this.following.then(work).catch((error) => {
      this.broken ??= error;
    });
    return this.following;
  }

  private ends(): Promise<void>[] {
    return [...this.running.values()].map(({ over }) => over);
  }

  private async end(task: Task, failure: RunFailure | undefined): Promise<void> {
    try {
      const record = await this.read(task);
      const isResult = record?.status === "finished" || record?.status === "diverged";
      if (failure && !isResult) this.fail(task, failure);
    } finally {
      this.running.delete(task);
    }
    const record = this.records.get(task.name);
    if (record) await this.options.onRecord(record, this.standing(), this.soFar);
    if (failure && this.failed.has(task.name)) this.requireHope(task, failure);
  }

  private fail({ name, point, seed }: Task, { message }: RunFailure): void {
    this.failed.add(name);
    const known = this.records.get(name);
    this.records.set(name, {
      ...{ point: point.id, seed, folder: `${runsName}/${name}`, seconds: 0, done: 0 },
      ...{ epochs: [], losses: [] },
      ...known,
      status: "failed",
      reason: message,
    });
  }

  /** Throws the cause where runs fail and none gets on. */
  private requireHope({ point, seed }: Task, { message, code }: RunFailure): void {
    const ended = [...this.records.values()].some(({ error }) => error !== undefined);
    if (ended || this.failed.size < Math.min(mostFailures, this.options.tasks.length)) return;
    throw new OnehourError(
      code ?? "ERR_ONEHOUR_EXPERIMENT",
      `no run of the experiment gets on: ${point.label}, seed ${seed}: ${message}`,
    );
  }

  private async read(task: Task): Promise<RunRecord | undefined> {
    const { settings, classes } = this.options;
    const record = await readRecord(settings.out, task, classes).catch((error: Error) => {
      const advice = `. Or remove ${settings.out}/${runsName}/${task.name}: that run then begins anew`;
      throw new OnehourError("ERR_ONEHOUR_RUN_FOLDER", error.message + advice, { cause: error });
    });
    if (record) this.records.set(task.name, record);
    return record;
  }

  private async note(): Promise<void> {
    if (seconds() - this.noted < noteInterval) return;
    this.noted = seconds();
    await writeSpent(this.options.settings.out, this.spent);
  }

  private stopAll(): void {
    this.isStopping = true;
    for (const { process } of this.running.values()) process.stop();
  }
}

/** Runs what is left of an experiment; what is there already counts. */
export async function conduct(options: Conduct): Promise<Conducted> {
  return await new Conductor(options).run();
}
