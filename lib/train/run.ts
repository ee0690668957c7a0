// One rank's part of a run: prepares, trains epoch after epoch, evaluates, saves.

import { Loader } from "../data/loader.js";
import { Sampler } from "../data/sampler.js";
import type { Executor } from "../device.js";
import { OnehourError } from "../errors.js";
import type { CompiledModel } from "../graph/compile.js";
import { requireSameFacts, requireSameTensors } from "./agreement.js";
import { checksum, type Position } from "./checkpoint.js";
import { reportData } from "./data-report.js";
import { describeRun, totalSteps } from "./describe.js";
import { evaluateSplit } from "./evaluate.js";
import type { Result } from "./events.js";
import {
  batchesAhead,
  compileRecipe,
  factsOf,
  type RunOptions,
  recordPrograms,
  requireMemory,
  requireStepsLeft,
} from "./prepare.js";
import { type EpochLine, endLine, resultOf } from "./result.js";
import {
  createRunFolder,
  isFinished,
  Log,
  readLog,
  rewindLog,
  updateRecipe,
} from "./run-folder.js";
import { Saving, startOf } from "./saving.js";
import {
  type Schedule,
  type ScheduleOptions,
  scheduleOf,
  stepSchedule,
  stepsOf,
} from "./schedule.js";
import { readParameters } from "./state.js";
import { Stop } from "./stop.js";
import { traceFault } from "./trace.js";
import { Queue, type StepResult, Trainer } from "./trainer.js";

/** Runs to the end, or to a signal. Throws when it cannot go on; the last checkpoint stays. */
export async function runRank(options: RunOptions): Promise<Result> {
  const compiled = compileRecipe(options.recipe, options.dataset, options.device);
  requireMemory(options, compiled);
  await requireSameFacts(options.team, factsOf(options, compiled));
  const { syncBatchNorm, workers } = options.recipe;
  const executor = await options.device.load(compiled.programs, {
    communicators: await options.team.communicators(
      syncBatchNorm < 0 ? workers : syncBatchNorm,
      options.device,
    ),
  });
  try {
    await recordPrograms(options, executor);
    return await new Run(options, compiled, executor).train();
  } finally {
    executor.dispose();
  }
}

class Run {
  private readonly queue: Queue;
  private readonly sampler: Sampler;
  private readonly loader: Loader;
  private readonly schedule: Schedule;
  private readonly scheduleOptions: ScheduleOptions;
  private readonly saving: Saving;
  private readonly stop: Stop;
  private readonly leads: boolean;
  /** Steps of the run in all. */
  private readonly total: number;
  private readonly started = performance.now();
  /** The first step of this process and when it began, in ms. */
  private first = { step: 0, time: 0 };
  private epochStarted = 0;
  private epochEnded = 0;
  /** Milliseconds the device had waited for input when the epoch began. */
  private waited = 0;
  private log: Log | undefined;
  private position: Position;
  /** Seconds of the run, and of the epoch at hand, before this process. */
  private earlier = { run: 0, epoch: 0 };
  /** Steps queued or about to be. */
  private committed = 0;
  /** The finished epochs, as they were logged. */
  private epochs: EpochLine[] = [];

  constructor(
    private readonly options: RunOptions,
    private readonly compiled: CompiledModel,
    private readonly executor: Executor,
  ) {
    const { recipe, dataset, team } = options;
    const { workers, accumulate, batch, seed, augment } = recipe;
    this.queue = new Queue(executor, compiled.output);
    const { train, shards } = dataset;
    const images = train.length;
    this.sampler = new Sampler({ images, workers, accumulate, batch, seed, shards });
    this.loader = new Loader({ dataset, layout: compiled.input, batch, seed, augment });
    this.scheduleOptions = scheduleOf(recipe, this.sampler);
    this.schedule = stepSchedule(this.scheduleOptions);
    this.total = totalSteps(recipe, this.sampler.stepsPerEpoch);
    this.leads = team.rank === 0;
    this.stop = new Stop(team, () => this.committed);
    this.position = startOf(recipe);
    this.saving = new Saving({
      recipe,
      compiled,
      queue: this.queue,
      team,
      total: this.total,
      stepsPerEpoch: this.sampler.stepsPerEpoch,
      position: () => ({
        ...this.position,
        epochSeconds: this.epochSeconds(),
        seconds: this.seconds(),
      }),
      say: (text) => this.say(text),
    });
  }

  async train(): Promise<Result> {
    try {
      this.describe();
      if (await this.begin()) return this.tellEnd(this.result("finished"));
      return await this.steps();
    } catch (error) {
      this.log?.write({
        type: "end",
        status: "failed",
        steps: this.position.step,
        seconds: this.seconds(),
        reason: (error as Error).message,
      });
      throw error;
    } finally {
      this.stop.dispose();
      this.log?.close();
    }
  }

  private say(text: string): void {
    if (this.leads) this.options.onEvent({ type: "message", text });
  }

  private describe(): void {
    const { recipe, dataset, device } = this.options;
    const { compiled, executor, sampler, scheduleOptions } = this;
    const lines = describeRun({
      recipe,
      dataset,
      device: device.properties,
      compiled,
      executor,
      sampler,
      schedule: scheduleOptions,
    });
    for (const line of [...lines, ...(dataset.notes ?? [])]) this.say(line);
  }

  private seconds(): number {
    return this.earlier.run + (performance.now() - this.started) / 1000;
  }

  /** Puts weights, position and log in place. Returns true when nothing is left to do. */
  private async begin(): Promise<boolean> {
    const { recipe, resume, team } = this.options;
    let finished = false;
    if (this.leads) {
      this.position = await this.saving.restore(resume);
      if (this.position.step > 0) this.saving.saved = this.position.step;
      const lines = resume ? readLog(recipe.out) : [];
      finished = this.position.step >= this.total && isFinished(lines);
      if (!finished) {
        requireStepsLeft(recipe, this.position.step);
        await (resume ? updateRecipe : createRunFolder)(recipe.out, recipe);
      }
      const kept = finished
        ? lines
        : await rewindLog(recipe.out, this.position.step, this.sampler.stepsPerEpoch);
      this.epochs = kept.filter((line) => line.type === "epoch");
      if (!finished) this.log = new Log(recipe.out, (text) => this.say(`warning: ${text}`));
    }
    const shared = { position: this.position, epochs: this.epochs, finished };
    const first = JSON.parse((await team.gather("begin", JSON.stringify(shared)))[0]!);
    this.position = { lastLearningRate: undefined, ...first.position };
    this.epochs = first.epochs;
    this.earlier = { run: this.position.seconds, epoch: this.position.epochSeconds };
    if (first.finished) {
      const { step } = this.position;
      const ends = stepsOf(recipe.epochs, this.sampler.stepsPerEpoch);
      const hint = step < ends ? `; to go on, give more than --steps ${step}` : "";
      this.say(`nothing is left to do: ${step} steps are done${hint}`);
      return true;
    }
    await this.saving.share();
    this.saving.averaged = this.position.step;
    this.say(
      resume
        ? `continuing ${recipe.out} after ${this.position.step} steps`
        : `run folder: ${recipe.out}`,
    );
    return false;
  }

  private trainer(
    lastLearningRate: number | undefined,
    onStep: (result: StepResult) => void,
  ): Trainer {
    const { recipe, dataset, team } = this.options;
    const { queue, loader, sampler, schedule } = this;
    return new Trainer({
      queue,
      loader,
      sampler,
      schedule,
      momentumForm: recipe.momentumForm,
      momentumCorrection: recipe.momentumCorrection,
      rank: team.rank,
      accumulate: recipe.accumulate,
      steps: this.total,
      ahead: batchesAhead(dataset, recipe.batch),
      lastLearningRate,
      onStep,
    });
  }

  private async steps(): Promise<Result> {
    const { stepsPerEpoch } = this.sampler;
    const trainer = this.trainer(this.position.lastLearningRate, (result) =>
      this.finishStep(result),
    );
    let step = this.position.step;
    this.committed = step;
    this.first = { step, time: performance.now() };
    this.epochStarted = this.first.time;
    this.epochEnded = this.first.time;
    // The run may have been stopped between an epoch's last step and its evaluation.
    const atEnd = step > 0 && (step % stepsPerEpoch === 0 || step >= this.total);
    if (atEnd && !this.isEvaluated()) await this.evaluate();
    while (step < this.total) {
      if (this.stop.requested && step >= (await this.stop.agree())) break;
      this.committed = step + 1;
      const fault = await trainer.queueStep(step);
      if (fault) await this.fail(fault, trainer);
      step++;
      if (step % stepsPerEpoch === 0 || step === this.total) {
        await this.settle(trainer);
        await this.saving.save();
        await this.evaluate();
      }
    }
    await this.settle(trainer);
    await trainer.discard();
    const { saving } = this;
    if (saving.averaged !== step) await saving.save();
    else if (step > 0 && saving.saved !== step) await saving.write();
    // Every rank takes part in this once, signal or not, so that none waits for it in vain.
    await this.stop.agree();
    const isComplete = step >= this.total && this.isEvaluated();
    if (this.leads && step > 0 && saving.saved !== step) {
      throw new OnehourError(
        "ERR_ONEHOUR_CHECKPOINT",
        `the run has ended, but its checkpoint could not be saved in ${this.options.recipe.out}; ` +
          `see why above, mend it and repeat the last steps: onehour train --resume --out ${this.options.recipe.out}`,
      );
    }
    return this.end(isComplete ? "finished" : "interrupted");
  }

  /** Logs a step when its results have been read back. */
  private finishStep(result: StepResult): void {
    const { stepsPerEpoch } = this.sampler;
    const { step, lr, momentumFactor, loss, imagesPerSecond } = result;
    const epoch = Math.floor(step / stepsPerEpoch);
    if (epoch !== this.position.epoch) {
      this.position.lossSum = 0;
      this.earlier.epoch = 0;
      this.epochStarted = this.epochEnded;
    }
    this.position.epoch = epoch;
    this.position.step = step + 1;
    this.position.lastLearningRate = lr;
    this.position.lossSum += loss;
    if (!this.leads) return;
    const line = { type: "step", step, epoch, loss, lr, momentumFactor, imagesPerSecond } as const;
    this.log?.write(line);
    this.options.onEvent({
      ...line,
      steps: this.total,
      stepsPerEpoch,
      epochs: this.options.recipe.epochs,
      inputWait: this.queue.idle,
    });
  }

  /** Waits for the queued steps, and makes sure that the ranks still agree. */
  private async settle(trainer: Trainer): Promise<void> {
    const fault = await trainer.drain();
    if (fault) await this.fail(fault, trainer);
    const { team } = this.options;
    if (team.size === 1) return;
    const parameters = await readParameters(this.executor, this.compiled);
    const sums = [...parameters].map(([name, values]) => [name, checksum(values)]);
    await requireSameTensors(team, this.position.step, Object.fromEntries(sums));
  }

  private epochSeconds(): number {
    return this.earlier.epoch + (performance.now() - this.epochStarted) / 1000;
  }

  /** Whether the epoch of the last step has been evaluated behind it. */
  private isEvaluated(): boolean {
    return this.epochs.at(-1)?.epoch === this.position.epoch;
  }

  /** Evaluates on the whole test set and logs the epoch; a signal breaks it off, to be repeated. */
  private async evaluate(): Promise<void> {
    const { recipe, dataset, team } = this.options;
    const trained = performance.now() - Math.max(this.epochStarted, this.epochEnded);
    const inputWait = trained > 0 ? (this.queue.idle - this.waited) / trained : 0;
    const result = await evaluateSplit(
      this.queue,
      this.loader,
      dataset,
      recipe.batch,
      team,
      () => this.stop.requested,
    );
    if (!result) return;
    const { epoch, lossSum, step } = this.position;
    if (dataset.inspection) {
      const lines = await reportData(dataset.inspection, inputWait, step, team);
      for (const text of lines) this.say(text);
    }
    const line: EpochLine = {
      type: "epoch",
      epoch,
      trainLoss: lossSum / (step - epoch * this.sampler.stepsPerEpoch),
      top1: result.top1,
      top5: result.top5,
      testLoss: result.loss,
      testImages: result.images,
      inputWait: Number(inputWait.toFixed(4)),
      seconds: this.epochSeconds(),
    };
    this.waited = this.queue.idle;
    this.epochs.push(line);
    this.epochEnded = performance.now();
    if (!this.leads) return;
    this.log?.write(line);
    this.options.onEvent({ ...line, correct: result.correct, epochs: recipe.epochs });
  }

  private result(status: Result["status"]): Result {
    const { recipe } = this.options;
    const { signal } = this.stop;
    const facts = {
      status,
      ...(status === "interrupted" && signal ? { signal } : {}),
      out: recipe.out,
      model: recipe.model,
      steps: this.position.step,
      seconds: this.seconds(),
    };
    return resultOf(facts, this.epochs);
  }

  /** Logs the end, and tells it. */
  private end(status: Result["status"]): Result {
    const result = this.result(status);
    if (this.leads) this.log?.write(endLine(result));
    return this.tellEnd(result);
  }

  private tellEnd(result: Result): Result {
    if (this.leads) this.options.onEvent({ ...endLine(result), result });
    return result;
  }

  /** Throws, naming the layer in which a step first was not finite. All ranks come here alike. */
  private async fail(fault: StepResult, trainer: Trainer): Promise<never> {
    const { recipe, team } = this.options;
    const { compiled, queue, saving } = this;
    await queue.drain();
    await trainer.discard();
    const done = this.position.step - this.first.step;
    const where = await traceFault(fault, {
      recipe,
      compiled,
      queue,
      team,
      saving,
      trainer: (lastLearningRate, onStep) => this.trainer(lastLearningRate, onStep),
      perStep: (performance.now() - this.first.time) / Math.max(1, done),
      say: (text) => this.say(text),
    });
    const kept =
      saving.saved === undefined
        ? "No checkpoint was saved before it"
        : `The checkpoint of step ${saving.saved} is kept`;
    throw new OnehourError(
      "ERR_ONEHOUR_NOT_FINITE",
      `step ${fault.step} is not finite: loss ${fault.loss}, lr ${fault.lr}; ${where}. ${kept}. ` +
        `Try a smaller rate (--lr ${recipe.lr / 2}) or a longer warm-up`,
    );
  }
}
