// One rank's part of a run: prepares, trains epoch after epoch, evaluates, saves.

import { Loader } from "../data/loader.js";
import { Sampler } from "../data/sampler.js";
import type { Executor } from "../device/device.js";
import type { CompiledModel } from "../graph/compile.js";
import { hasLauncher } from "../ranks/report.js";
import { explain, type World } from "../ranks/world.js";
import type { RunLock } from "../run-folder/lock.js";
import {
  type Schedule,
  type ScheduleBuilder,
  type ScheduleOptions,
  scheduleOf,
  stepsOf,
} from "../schedules/schedule.js";
import { plural } from "../text/words.js";
import { Autosave } from "./autosave.js";
import { DataReport } from "./data-report.js";
import { describeRun, totalSteps } from "./describe.js";
import { evaluateSplit } from "./evaluate.js";
import type { Result } from "./events.js";
import { Journal } from "./journal.js";
import { loadRun } from "./load-run.js";
import { LostOutput } from "./lost-output.js";
import { emaRate } from "./moving-average.js";
import { addNoise, noiseLine } from "./noise-scale.js";
import { notFinite } from "./not-finite.js";
import { openRun, type Start } from "./open-run.js";
import { recomputeStatistics } from "./precise-batch-norm.js";
import type { RunOptions } from "./prepare.js";
import { Progress } from "./progress.js";
import { requireSameReplicas } from "./replicas.js";
import { runResult } from "./result.js";
import { Saving, startOf } from "./saving.js";
import { Queue, StepQueue, type StepResult } from "./step-queue.js";
import { StepTracing } from "./step-tracing.js";
import { Stop } from "./stop.js";
import { explainTestLoss } from "./test-loss.js";

/** Whether a command for each node, or one of an engine, has started the ranks. */
const isApart = ({ worldSize, localWorldSize }: World) =>
  worldSize > localWorldSize || (worldSize > 1 && !hasLauncher());

/** Runs to the end, or to a signal. Throws when it cannot go on; the last checkpoint stays. */
export async function runRank(options: RunOptions): Promise<Result> {
  const { compiled, executor, ahead, buildSchedule } = await loadRun(options);
  try {
    return await new Run(options, compiled, executor, ahead, buildSchedule).train();
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
  private readonly autosave: Autosave;
  private readonly leads: boolean;
  /** Steps of the run in all. */
  private readonly total: number;
  private readonly progress: Progress;
  private readonly journal: Journal;
  private readonly dataReport: DataReport | undefined;
  private readonly tracing: StepTracing;
  private lock: RunLock | undefined;
  private readonly lostOutput: LostOutput;
  /** Steps queued or about to be. */
  private committed = 0;

  constructor(
    private readonly options: RunOptions,
    private readonly compiled: CompiledModel,
    private readonly executor: Executor,
    /** Batches that are being filled at once. */
    private readonly ahead: number,
    buildSchedule: ScheduleBuilder,
  ) {
    const { recipe, dataset, world } = options;
    const { workers, accumulate, batch, seed, augment, shuffle } = recipe;
    this.queue = new Queue(executor, compiled.output);
    const { train, shards } = dataset;
    const images = train.length;
    this.sampler = new Sampler({ images, workers, accumulate, batch, seed, shards, shuffle });
    this.loader = new Loader({ dataset, layout: compiled.input, batch, seed, augment });
    this.scheduleOptions = scheduleOf(recipe, this.sampler);
    this.schedule = buildSchedule(this.scheduleOptions);
    this.total = totalSteps(recipe, this.sampler.stepsPerEpoch);
    this.leads = world.rank === 0;
    this.journal = new Journal({
      leads: this.leads,
      course: {
        steps: this.total,
        stepsPerEpoch: this.sampler.stepsPerEpoch,
        trainImages: images,
        testImages: dataset.test.length * (compiled.ema ? 2 : 1),
        statistics: recipe.preciseBatchNorm / accumulate,
      },
      epochs: recipe.epochs,
      out: recipe.out,
      onEvent: options.onEvent,
    });
    this.stop = new Stop(world, () => this.committed);
    this.autosave = new Autosave(world, recipe.checkpointMinutes, () => this.committed);
    this.lostOutput = new LostOutput(world);
    this.progress = new Progress(startOf(recipe), this.sampler.stepsPerEpoch);
    this.dataReport = dataset.inspection && new DataReport(dataset.inspection, world);
    this.tracing = new StepTracing({
      world,
      compiled,
      kind: options.device.properties.kind,
      steps: recipe.trace,
      total: this.total,
      out: recipe.out,
      say: this.journal.say,
    });
    this.saving = new Saving({
      recipe,
      compiled,
      queue: this.queue,
      world,
      dataset,
      total: this.total,
      course: {
        stepsPerEpoch: this.sampler.stepsPerEpoch,
        steps: stepsOf(recipe.epochs, this.sampler.stepsPerEpoch),
        schedule: this.schedule,
        seed: recipe.seed,
      },
      position: () => this.progress.position,
      syncLog: () => this.journal.sync(),
      say: this.journal.say,
    });
  }

  async train(): Promise<Result> {
    try {
      const end = await this.begin();
      if (end) return await this.end(end);
      return await this.steps();
    } catch (thrown) {
      const error = await explain(this.options.world, thrown);
      this.lostOutput.dispose(); // the end is the last line
      await this.journal.fail(error as Error, this.progress);
      throw error;
    } finally {
      await this.saving.written();
      for (const part of [this.autosave, this.stop, this.lostOutput]) part.dispose();
      this.journal.close();
      this.lock?.release();
    }
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
    for (const line of [...lines, ...(dataset.notes ?? [])]) this.journal.say(line);
  }

  /** Puts weights, position and log in place. Returns how the run ends where it does not go on. */
  private async begin(): Promise<Result["status"] | undefined> {
    const { recipe, resume, world } = this.options;
    // Rank 0 may wait for the folder: only when every rank listens for signals, for one may end the wait.
    if (resume) await world.gather("listening", "");
    const own = this.leads ? await this.open() : null;
    const [shared] = await world.gather("begin", JSON.stringify(own));
    const { position, epochs, end } = JSON.parse(shared!) as Start;
    this.describe();
    const { step } = position;
    this.progress.continue(position, epochs);
    if (end === "interrupted") await this.stop.agree();
    if (end) return end;
    if (this.leads) this.lostOutput.open((text) => this.journal.warn(this.progress.step, text));
    const { restart } = this.options;
    this.journal.begin(this.progress, recipe.workers, restart);
    await this.saving.share();
    this.saving.averaged = step;
    if (step > 0) this.saving.saved = step;
    this.journal.say(
      resume
        ? `continuing ${recipe.out} after ${plural(step, "step")}`
        : `run folder: ${recipe.out}`,
    );
    return undefined;
  }

  private async open(): Promise<Start> {
    const { recipe, resume } = this.options;
    const { saving, total, sampler } = this;
    const { start, lock, log } = await openRun({
      recipe,
      resume,
      saving,
      total,
      say: this.journal.say,
      stepsPerEpoch: sampler.stepsPerEpoch,
      stopped: () => this.stop.requested,
    });
    this.lock = lock;
    if (log) this.journal.open(log);
    return start;
  }

  private trainer(
    lastLearningRate: number | undefined,
    onStep: (result: StepResult) => void,
    tracing?: StepTracing,
  ): StepQueue {
    const { recipe, world } = this.options;
    const { queue, loader, sampler, schedule } = this;
    return new StepQueue({
      queue,
      loader,
      sampler,
      schedule,
      input: this.compiled.input,
      emaRate: emaRate(recipe),
      momentumForm: recipe.momentumForm,
      momentumCorrection: recipe.momentumCorrection,
      rank: world.rank,
      accumulate: recipe.accumulate,
      steps: this.total,
      ahead: this.ahead,
      lastLearningRate,
      onStep,
      ...(tracing ? { isTraced: tracing.isTraced, note: tracing.note } : {}),
    });
  }

  private async steps(): Promise<Result> {
    const { stepsPerEpoch } = this.sampler;
    const { progress, saving, tracing } = this;
    const onStep = (result: StepResult) => this.finishStep(result);
    const trainer = this.trainer(progress.lastLearningRate, onStep, tracing);
    let { step } = progress;
    tracing.begin(step);
    this.committed = step;
    progress.startSteps();
    // The run may have been stopped between an epoch's last step and its evaluation.
    const atEnd = step > 0 && (step % stepsPerEpoch === 0 || step >= this.total);
    if (atEnd) {
      if (!progress.isEvaluated)
        await this.evaluate(0); // earlier steps' waits are not known
      else if (progress.isBest) saving.keepBest();
    }
    while (step < this.total) {
      if (this.leads && !this.stop.requested && !saving.isWriting) this.autosave.askIfDue();
      await this.agreements();
      if (this.autosave.take(step) && saving.averaged !== step) {
        await this.settle(trainer);
        await saving.saveWithin();
        await this.agreements();
      }
      if (this.stop.isDue(step)) break;
      this.committed = step + 1;
      const fault = await trainer.queueStep(step);
      if (fault) await this.fail(fault, trainer);
      step++;
      await tracing.write(step - trainer.lag);
      if (step % stepsPerEpoch === 0 || step === this.total) {
        await this.settle(trainer);
        const inputWait = progress.inputWait(this.queue.idle);
        await this.recomputeStatistics();
        await saving.save();
        this.autosave.restart();
        await this.evaluate(inputWait);
      }
    }
    await this.settle(trainer);
    await tracing.write(step, true);
    await trainer.discard();
    await saving.written();
    saving.isLast = true;
    this.journal.show({ text: "saving the checkpoint" });
    if (saving.averaged !== step) await saving.save();
    else if (step > 0 && saving.saved !== step) await saving.write();
    await saving.written();
    // Every rank takes part in this once, signal or not, or one that a signal reached would wait for ever.
    await this.stop.agree();
    const isComplete = step >= this.total && progress.isEvaluated;
    if (this.leads) saving.requireSaved(step);
    return await this.end(isComplete ? "finished" : "interrupted");
  }

  /**
   * Waits until nothing is left to agree on. Whatever another rank asks for later finds this one
   * either here again or with a step more that it has committed to.
   */
  private async agreements(): Promise<void> {
    while (this.stop.pending || this.autosave.pending) {
      await this.autosave.settled();
      if (this.stop.pending) await this.stop.agree();
    }
  }

  /** Logs a step when its results have been read back. */
  private finishStep(result: StepResult): void {
    const { squares } = result;
    const noise = squares && addNoise(this.progress.position.noise, squares, this.options.recipe);
    const epoch = this.progress.finishStep({ ...result, noise });
    this.tracing.finishStep(result);
    if (this.leads) this.journal.step(result, epoch, this.tracing.split(result), noise);
  }

  /** Waits for the queued steps, and makes sure that the ranks still agree. */
  private async settle(trainer: StepQueue): Promise<void> {
    const fault = await trainer.drain();
    if (fault) await this.fail(fault, trainer);
    const { world, recipe } = this.options;
    const { step } = this.progress;
    await requireSameReplicas(this.executor, this.compiled, world, { step, out: recipe.out });
  }

  private async recomputeStatistics(): Promise<void> {
    const { recipe, dataset, world } = this.options;
    const { compiled, queue, loader, sampler, progress } = this;
    const { epoch } = progress.position;
    const { show } = this.journal;
    const options = { recipe, dataset, compiled, queue, loader, sampler, rank: world.rank, show };
    await recomputeStatistics(epoch, options);
  }

  /** Evaluates on the whole test set and logs the epoch; a signal breaks it off, to be repeated. */
  private async evaluate(inputWait: number): Promise<void> {
    const { recipe, dataset, world } = this.options;
    const { progress, queue, compiled } = this;
    const stopped = () => this.stop.requested;
    const evaluate = (ema: boolean) =>
      evaluateSplit(queue, this.loader, dataset, recipe.batch, {
        ...{ world, stopped, ema },
        onProgress: this.journal.show,
      });
    const result = await evaluate(false);
    const averaged = result && compiled.ema ? await evaluate(true) : undefined;
    if (!result || (compiled.ema && !averaged)) {
      // Before a rank that has not heard of the signal commits to the next step: the run ends here, and evaluates
      // this epoch when it goes on.
      await this.stop.agree();
      return;
    }
    if (!Number.isFinite(result.loss)) {
      const run = { compiled, queue, world };
      this.journal.say(await explainTestLoss(result.loss, progress.step, run));
    }
    const report = await this.dataReport?.gather(inputWait);
    for (const text of report?.lines ?? []) this.journal.say(text);
    const wait = report?.wait ?? inputWait;
    const line = progress.finishEpoch(result, averaged, wait, queue.idle);
    if (progress.isBest) this.saving.keepBest();
    this.journal.epoch(line, result.correct);
  }

  private async end(status: Result["status"]): Promise<Result> {
    const { recipe, world } = this.options;
    const result = runResult(status, this.stop.signal, recipe, this.progress);
    const { noise } = this.progress.position;
    if (noise && recipe.noiseScale) this.journal.say(noiseLine(noise));
    this.lostOutput.dispose(); // the end is the last line
    await this.journal.end(result, isApart(world));
    return result;
  }

  /** Throws, naming the layer in which a step first was not finite. All ranks come here alike. */
  private async fail(fault: StepResult, trainer: StepQueue): Promise<never> {
    const { recipe, world } = this.options;
    const { compiled, queue, saving } = this;
    await queue.drain();
    await this.tracing.write(this.progress.step, true);
    await trainer.discard();
    throw await notFinite(fault, {
      recipe,
      compiled,
      queue,
      world,
      saving,
      trainer: (lastLearningRate, onStep) => this.trainer(lastLearningRate, onStep),
      perStep: this.progress.perStep,
      say: this.journal.say,
    });
  }
}
