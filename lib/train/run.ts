// One rank's part of a run: prepares, trains epoch after epoch, evaluates, saves.

import type { Dataset } from "../data/dataset.js";
import { Loader } from "../data/loader.js";
import { Sampler } from "../data/sampler.js";
import type { Device, Executor } from "../device.js";
import { OnehourError } from "../errors.js";
import { type CompiledModel, compile, type TensorLayout } from "../graph/compile.js";
import { resnet } from "../models/resnet.js";
import { requireSameFacts, requireSameTensors } from "./agreement.js";
import {
  checksum,
  formatCheckpoint,
  hasCheckpoint,
  isDiskFull,
  type ModelState,
  type Position,
  readCheckpoint,
  readLastCheckpoint,
  requireFit,
  saveCheckpoint,
} from "./checkpoint.js";
import { describeRun, formatBytes, totalSteps } from "./describe.js";
import { evaluateSplit } from "./evaluate.js";
import type { Result, RunEvent } from "./events.js";
import { type BadLayer, firstBad } from "./fault.js";
import { initialWeights } from "./initialize.js";
import type { Recipe } from "./recipe.js";
import {
  createRunFolder,
  Log,
  type LogLine,
  readLog,
  rewindLog,
  updateRecipe,
} from "./run-folder.js";
import {
  type Schedule,
  type ScheduleOptions,
  scheduleOf,
  stepSchedule,
  stepsOf,
} from "./schedule.js";
import { clearGradients, readParameters, readState, writeWeights } from "./state.js";
import { gatherStatistics, type Statistics, scatterStatistics } from "./statistics.js";
import { Stop } from "./stop.js";
import type { Team } from "./team.js";
import { isBroken, Queue, type StepResult, Trainer } from "./trainer.js";

type EpochLine = Extract<LogLine, { type: "epoch" }>;

const slots = 3; // two steps are queued while the third is being filled
const tracingLimit = 60_000; // ms of repeated steps to find where a fault began

/** Compiles the programs of a recipe for a device. */
export function compileRecipe(recipe: Recipe, dataset: Dataset, device: Device): CompiledModel {
  const { syncBatchNorm, workers } = recipe;
  return compile(resnet(recipe.model, { images: dataset.images, classes: dataset.classes }), {
    batch: recipe.batch,
    accumulate: recipe.accumulate,
    workers,
    syncBatchNorm: syncBatchNorm === 0 ? 1 : syncBatchNorm < 0 ? workers : syncBatchNorm,
    precision: recipe.precision,
    momentum: recipe.momentum,
    momentumForm: recipe.momentumForm,
    nesterov: recipe.nesterov,
    weightDecay: recipe.weightDecay,
    labelSmoothing: recipe.labelSmoothing,
    mean: dataset.mean,
    std: dataset.std,
    operations: device.operations,
    channelMultiple: device.properties.channelMultiple,
    slots,
  });
}

/** A recipe with the run folder that was chosen. */
export type RunRecipe = Recipe & { out: string };

/** What a rank's run is made of. */
export interface RunOptions {
  /** Resolved, with `out`. */
  recipe: RunRecipe;
  resume: boolean;
  dataset: Dataset;
  device: Device;
  team: Team;
  /** Told on rank 0 only. */
  onEvent: (event: RunEvent) => void;
}

/** Fields that may differ between ranks. */
const ownFields: ReadonlySet<string> = new Set(["out", "threads", "device", "timeout"]);

/** What all ranks must have alike at the start. */
function factsOf({ recipe, dataset }: RunOptions, compiled: CompiledModel) {
  const shared = Object.entries(recipe).filter(([key]) => !ownFields.has(key));
  return {
    recipe: JSON.stringify(Object.fromEntries(shared.sort())),
    "data set": dataset.fingerprint,
    "programs' hash": compiled.hash,
  };
}

/** Refuses a plan larger than the device's memory, with the largest batch that fits. */
function requireMemory({ recipe, device, team }: RunOptions, compiled: CompiledModel): void {
  const { kind, memoryBytes } = device.properties;
  const share = kind === "cpu" ? memoryBytes / team.localSize : memoryBytes;
  const sum = (arenas: (number | undefined)[]) =>
    arenas.reduce((total: number, bytes = 0) => total + bytes, 0);
  const { temp, input, ...fixed } = compiled.memory.arenas;
  const growing = sum([temp, input]);
  const total = growing + sum(Object.values(fixed));
  if (total <= share) return;
  const largest = Math.floor(((share - sum(Object.values(fixed))) / growing) * recipe.batch);
  throw new OnehourError(
    "ERR_ONEHOUR_MEMORY",
    `${recipe.model} with --batch ${recipe.batch} needs ${formatBytes(total)} a worker, but ` +
      `${device.properties.name} has ${formatBytes(share)} for each; ` +
      (largest >= 1
        ? `about --batch ${largest} fits, and --accumulate makes up for it`
        : "try a smaller model"),
  );
}

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
  private readonly layouts: TensorLayout[];
  private readonly stop: Stop;
  private readonly leads: boolean;
  /** Steps of the run in all. */
  private readonly total: number;
  private readonly started = performance.now();
  /** The first step of this process and when it began, in ms. */
  private first = { step: 0, time: 0 };
  private epochStarted = 0;
  private epochEnded = 0;
  private log: Log | undefined;
  private position: Position;
  /** Seconds of the run, and of the epoch at hand, before this process. */
  private earlier = { run: 0, epoch: 0 };
  /** Steps queued or about to be. */
  private committed = 0;
  /** Steps done when the ranks' running statistics were last averaged: the same on every rank. */
  private averaged = 0;
  /** Each rank's running statistics before that, where the run continues from them. */
  private ranks: Statistics[] | undefined;
  /** Steps done at the last save that succeeded. */
  private saved: number | undefined;
  /** The last epoch that is finished, as it was logged. */
  private epochLine: EpochLine | undefined;

  constructor(
    private readonly options: RunOptions,
    private readonly compiled: CompiledModel,
    private readonly executor: Executor,
  ) {
    const { recipe, dataset, team } = options;
    const { workers, accumulate, batch, seed, augment } = recipe;
    this.queue = new Queue(executor, compiled.output);
    const images = dataset.train.length;
    this.sampler = new Sampler({ images, workers, accumulate, batch, seed });
    this.loader = new Loader({ dataset, layout: compiled.input, batch, seed, augment });
    this.scheduleOptions = scheduleOf(recipe, this.sampler);
    this.schedule = stepSchedule(this.scheduleOptions);
    this.layouts = [...compiled.parameters, ...compiled.statistics];
    this.total = totalSteps(recipe, this.sampler.stepsPerEpoch);
    this.leads = team.rank === 0;
    this.stop = new Stop(team, () => this.committed);
    this.position = startOf(recipe);
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
    for (const line of lines) this.say(line);
  }

  private seconds(): number {
    return this.earlier.run + (performance.now() - this.started) / 1000;
  }

  /** Puts weights, position and log in place. Returns true when nothing is left to do. */
  private async begin(): Promise<boolean> {
    const { recipe, resume, team } = this.options;
    let finished = false;
    let ranks: Statistics[] | undefined;
    if (this.leads) {
      ({ position: this.position, ranks } = await this.restore(resume));
      if (this.position.step > 0) this.saved = this.position.step;
      const lines = resume ? readLog(recipe.out) : [];
      finished = this.position.step >= this.total && isFinished(lines.at(-1));
      if (!finished) {
        requireStepsLeft(recipe, this.position.step);
        await (resume ? updateRecipe : createRunFolder)(recipe.out, recipe);
      }
      const kept = finished
        ? lines
        : await rewindLog(recipe.out, this.position.step, this.sampler.stepsPerEpoch);
      this.epochLine = kept.findLast((line) => line.type === "epoch");
      if (!finished) this.log = new Log(recipe.out, (text) => this.say(`warning: ${text}`));
    }
    const shared = { position: this.position, epochLine: this.epochLine, finished };
    const first = JSON.parse((await team.gather("begin", JSON.stringify(shared)))[0]!);
    this.position = { lastLearningRate: undefined, ...first.position };
    this.epochLine = first.epochLine;
    this.earlier = { run: this.position.seconds, epoch: this.position.epochSeconds };
    if (first.finished) {
      const { step } = this.position;
      const ends = stepsOf(recipe.epochs, this.sampler.stepsPerEpoch);
      const hint = step < ends ? `; to go on, give more than --steps ${step}` : "";
      this.say(`nothing is left to do: ${step} steps are done${hint}`);
      return true;
    }
    await this.share(ranks);
    this.averaged = this.position.step;
    this.say(
      resume
        ? `continuing ${recipe.out} after ${this.position.step} steps`
        : `run folder: ${recipe.out}`,
    );
    return false;
  }

  /**
   * Writes weights to rank 0's device and tells where they stand: those of the last checkpoint if
   * the run is to continue from it, else given ones or new. Also what `share` gives each rank.
   */
  private async restore(
    continues: boolean,
  ): Promise<{ position: Position; ranks: Statistics[] | undefined }> {
    const { recipe } = this.options;
    const { parameters, statistics } = this.compiled;
    let state: ModelState & { position?: Position };
    if (continues && hasCheckpoint(recipe.out)) {
      const warn = (text: string) => this.say(`warning: ${text}`);
      state = await readLastCheckpoint(recipe.out, parameters, statistics, recipe.model, warn);
    } else if (recipe.init !== undefined) {
      const given = await readCheckpoint(recipe.init);
      requireFit(recipe.init, given, this.layouts, recipe.model);
      state = { weights: given.weights };
    } else {
      state = { weights: initialWeights(this.layouts, recipe.seed) };
    }
    await writeWeights(this.executor, this.compiled, state);
    const position = state.position ?? startOf(recipe);
    // Behind the last step nothing is left but to evaluate, with the average.
    return { position, ranks: position.step < this.total ? state.ranks : undefined };
  }

  /**
   * Brings rank 0's weights, momentum and statistics to all ranks, or to each its own of rank 0's
   * `ranks`, and clears the gradients.
   */
  private async share(ranks: Statistics[] | undefined): Promise<void> {
    const { team } = this.options;
    if (team.size > 1) {
      await this.runOnce("broadcast");
      await scatterStatistics(this.executor, this.compiled, team, ranks);
    }
    await clearGradients(this.executor);
  }

  private async runOnce(program: string): Promise<void> {
    await this.queue.submit(program, await this.queue.acquire());
    await this.queue.drain();
  }

  private trainer(
    lastLearningRate: number | undefined,
    onStep: (result: StepResult) => void,
  ): Trainer {
    const { recipe, team } = this.options;
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
    if (atEnd && this.epochLine?.epoch !== this.position.epoch) await this.evaluate();
    while (step < this.total) {
      if (this.stop.requested && step >= (await this.stop.agree())) break;
      this.committed = step + 1;
      const fault = await trainer.queueStep(step);
      if (fault) await this.fail(fault);
      step++;
      if (step % stepsPerEpoch === 0 || step === this.total) {
        await this.settle(trainer);
        await this.save();
        await this.evaluate();
      }
    }
    await this.settle(trainer);
    if (this.averaged !== step) await this.save();
    else if (step > 0 && this.saved !== step) await this.writeCheckpoint();
    // Every rank takes part in this once, signal or not, so that none waits for it in vain.
    await this.stop.agree();
    const isComplete = step >= this.total && this.epochLine?.epoch === this.position.epoch;
    if (this.leads && step > 0 && this.saved !== step) {
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
    if (fault) await this.fail(fault);
    const { team } = this.options;
    if (team.size === 1) return;
    const parameters = await readParameters(this.executor, this.compiled);
    const sums = [...parameters].map(([name, values]) => [name, checksum(values)]);
    await requireSameTensors(team, this.position.step, Object.fromEntries(sums));
  }

  /** Averages the running statistics, which all ranks take part in, and writes a checkpoint. */
  private async save(): Promise<void> {
    const { team } = this.options;
    if (team.size > 1) {
      // An unbroken run averages at an epoch's end only.
      const isWithin = this.position.step % this.sampler.stepsPerEpoch !== 0;
      this.ranks = isWithin
        ? await gatherStatistics(this.executor, this.compiled, team)
        : undefined;
      await this.runOnce("average");
    }
    this.averaged = this.position.step;
    await this.writeCheckpoint();
  }

  /** Writes on rank 0; a disk that takes no checkpoint is warned of, and training goes on. */
  private async writeCheckpoint(): Promise<void> {
    const { recipe } = this.options;
    const { step } = this.position;
    if (!this.leads) {
      this.saved = step;
      return;
    }
    const { ranks } = this;
    const state = {
      ...(await readState(this.executor, this.compiled)),
      ...(ranks ? { ranks } : {}),
    };
    const position = {
      ...this.position,
      epochSeconds: this.epochSeconds(),
      seconds: this.seconds(),
    };
    try {
      const pieces = formatCheckpoint(this.layouts, state, position, recipe.model);
      await saveCheckpoint(recipe.out, pieces);
      this.saved = step;
    } catch (error) {
      const reason = (error as Error).message;
      const kept =
        this.saved === undefined ? "there is none yet" : `the one of step ${this.saved} is kept`;
      this.say(
        `warning: the checkpoint of step ${step} could not be saved (${reason}); ${kept}. ` +
          `${isDiskFull(error) ? "Free some space" : "Make it possible to write"} in ${recipe.out}; ` +
          "training goes on and tries again",
      );
    }
  }

  private epochSeconds(): number {
    return this.earlier.epoch + (performance.now() - this.epochStarted) / 1000;
  }

  /** Evaluates on the whole test set and logs the epoch; a signal breaks it off, to be repeated. */
  private async evaluate(): Promise<void> {
    const { recipe, dataset, team } = this.options;
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
    const line: EpochLine = {
      type: "epoch",
      epoch,
      trainLoss: lossSum / (step - epoch * this.sampler.stepsPerEpoch),
      top1: result.top1,
      top5: result.top5,
      testLoss: result.loss,
      testImages: result.images,
      seconds: this.epochSeconds(),
    };
    this.epochLine = line;
    this.epochEnded = performance.now();
    if (!this.leads) return;
    this.log?.write(line);
    this.options.onEvent({ ...line, correct: result.correct, epochs: recipe.epochs });
  }

  private result(status: Result["status"]): Result {
    const { recipe } = this.options;
    const { signal } = this.stop;
    const last = this.epochLine;
    return {
      status,
      ...(status === "interrupted" && signal ? { signal } : {}),
      out: recipe.out,
      model: recipe.model,
      steps: this.position.step,
      ...(last
        ? {
            trainLoss: last.trainLoss,
            top1: last.top1,
            top5: last.top5,
            testImages: last.testImages,
          }
        : {}),
      seconds: this.seconds(),
    };
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
  private async fail(fault: StepResult): Promise<never> {
    const { recipe } = this.options;
    await this.queue.drain();
    const where = await this.trace(fault);
    const kept =
      this.saved === undefined
        ? "No checkpoint was saved before it"
        : `The checkpoint of step ${this.saved} is kept`;
    throw new OnehourError(
      "ERR_ONEHOUR_NOT_FINITE",
      `step ${fault.step} is not finite: loss ${fault.loss}, lr ${fault.lr}; ${where}. ${kept}. ` +
        `Try a smaller rate (--lr ${recipe.lr / 2}) or a longer warm-up`,
    );
  }

  /**
   * Which layer was the first: the steps queued behind the faulty one have spread it everywhere,
   * so the steps since the last checkpoint are repeated up to it, where that is soon done.
   */
  private async trace(fault: StepResult): Promise<string> {
    const { recipe, team } = this.options;
    const done = this.position.step - this.first.step;
    const perStep = (performance.now() - this.first.time) / Math.max(1, done); // ms
    const bucket = this.compiled.buckets[fault.bad.findIndex((count) => count !== 0)];
    const gradients = bucket
      ? `gradients between ${bucket.parameters[0]} and ${bucket.parameters.at(-1)} are not finite`
      : "its gradients are finite";
    const mine = this.leads
      ? await this.restore(this.saved !== undefined)
      : { position: startOf(recipe), ranks: undefined };
    const repeat = (fault.step - mine.position.step) * perStep < tracingLimit;
    const proposal = { ...mine.position, repeat };
    const plan: typeof proposal = JSON.parse(
      (await team.gather("trace", JSON.stringify(proposal)))[0]!,
    );
    if (!plan.repeat) return gradients;
    this.say(`step ${fault.step} is not finite; repeating from step ${plan.step} to see where`);
    await this.share(mine.ranks);
    let repeated: StepResult | undefined;
    const trainer = this.trainer(plan.lastLearningRate, (result) => {
      repeated = result;
    });
    for (let step = plan.step; step <= fault.step; step++) await trainer.queueStep(step);
    await trainer.drain();
    const own = firstBad(await readState(this.executor, this.compiled), this.compiled);
    const all = (await team.gather("trace-layer", JSON.stringify(own ?? null))).map(
      (text) => JSON.parse(text) as BadLayer | null,
    );
    const earliest = all.filter((layer) => layer !== null).sort((a, b) => a.order - b.order)[0];
    if (!repeated || !isBroken(repeated) || !earliest) {
      return `${gradients}, but not so when repeated: a fault of memory or of the machine?`;
    }
    return `first in ${earliest.name}`;
  }
}

function startOf(recipe: Recipe): Position {
  return {
    step: 0,
    epoch: 0,
    lastLearningRate: undefined,
    seed: recipe.seed,
    lossSum: 0,
    epochSeconds: 0,
    seconds: 0,
  };
}

function endLine({ status, steps, seconds, top1 }: Result): Extract<LogLine, { type: "end" }> {
  return { type: "end", status, steps, seconds, ...(top1 === undefined ? {} : { top1 }) };
}

/** Refuses a `steps` that an interrupted run has passed: its recipe could not repeat it. */
function requireStepsLeft({ steps, out }: RunRecipe, done: number): void {
  if (steps === undefined || done <= steps) return;
  throw new OnehourError(
    "ERR_ONEHOUR_RECIPE",
    `--steps: ${done} steps of ${out} are done already, and ${steps} were asked for; ` +
      `expected ${done} or more`,
  );
}

function isFinished(line: LogLine | undefined): boolean {
  return line?.type === "end" && line.status === "finished";
}
