// `Trainer`: training step by step, for a script that writes the loop itself.
import { Loader } from "../data/loader.js";
import { Sampler } from "../data/sampler.js";
import { OnehourError } from "../errors.js";
import type { Scaling } from "../ops/loss-scale.js";
import { alone, explain } from "../ranks/world.js";
import { type Recipe, type RecipeInput, refuse } from "../recipe/fields.js";
import { requireOptions } from "../recipe/options.js";
import type { RunLock } from "../run-folder/lock.js";
import type { Position } from "../run-folder/position.js";
import { holdRunFolder, writeRecipe } from "../run-folder/run-folder.js";
import { momentumFactor, type Schedule, scheduleOf } from "../schedules/schedule.js";
import type { Stage } from "../terminal/stages.js";
import { shown } from "../text/words.js";
import { totalSteps } from "./describe.js";
import { type Evaluation, evaluateSplit } from "./evaluate.js";
import { type LoadedRun, loadRun } from "./load-run.js";
import { emaRate } from "./moving-average.js";
import { type LoopOptions, listenerOf, loopNames } from "./options.js";
import { recomputeStatistics } from "./precise-batch-norm.js";
import type { RunOptions } from "./prepare.js";
import { Progress } from "./progress.js";
import { Saving, startOf } from "./saving.js";
import { clearGradients, readFloats, readSnapshot, split, stateOf } from "./state.js";
import { writeNumbers } from "./step-numbers.js";
import { Queue } from "./step-queue.js";
import { prepareLoop } from "./train.js";

export interface StepOptions {
  /** The learning rate η of this step; the schedule's. */
  lr?: number;
}

export interface TestOptions {
  /** Whether to test the moving average of the weights (`emaDecay`) instead of the weights; false. */
  ema?: boolean;
}

/** A step that was taken. */
export interface TakenStep {
  /** From 0. */
  step: number;
  epoch: number;
  lr: number;
  /** Data loss averaged over the kn images of all workers. */
  loss: number;
  /** In fp16: the scale of the next step's loss, good steps since it changed, steps skipped so far. */
  scaling?: Scaling;
}

/**
 * Trains step by step: the same steps that `train` takes, with the rate, the loss and the gradients at hand
 * between them. It writes no log, and a checkpoint only where `save` is called.
 */
export class Trainer implements Disposable {
  private readonly queue: Queue;
  private readonly sampler: Sampler;
  private readonly loader: Loader;
  private readonly schedule: Schedule;
  private readonly progress: Progress;
  private readonly saving: Saving;
  private lock: RunLock | undefined;
  private isBusy = false;
  /** The loss scale of the last step, by which its gradients are multiplied where they lie. */
  private gradientScale = 1;
  /** Steps of the schedule, or those of the recipe's `steps`; a script may take more or fewer. */
  readonly steps: number;
  readonly stepsPerEpoch: number;

  private constructor(
    private readonly options: RunOptions,
    private readonly loaded: LoadedRun,
    private readonly parts: Disposable,
  ) {
    const { recipe, dataset, world } = options;
    const { workers, accumulate, batch, seed, augment, shuffle } = recipe;
    const { compiled, executor } = loaded;
    const { train, shards } = dataset;
    const images = train.length;
    this.queue = new Queue(executor, compiled.output);
    this.sampler = new Sampler({ images, workers, accumulate, batch, seed, shards, shuffle });
    this.loader = new Loader({ dataset, layout: compiled.input, batch, seed, augment });
    this.schedule = loaded.buildSchedule(scheduleOf(recipe, this.sampler));
    this.stepsPerEpoch = this.sampler.stepsPerEpoch;
    this.steps = totalSteps(recipe, this.stepsPerEpoch);
    this.progress = new Progress(startOf(recipe), this.stepsPerEpoch);
    // A script's own steps are as many as it takes, at any rate.
    const total = Number.POSITIVE_INFINITY;
    const course = {
      stepsPerEpoch: this.stepsPerEpoch,
      steps: total,
      schedule: undefined,
      seed: recipe.seed,
    };
    this.saving = new Saving({
      recipe,
      compiled,
      world,
      queue: this.queue,
      total,
      course,
      say: this.say,
      dataset,
      position: () => this.progress.position,
      syncLog: async () => {},
    });
  }

  /**
   * Opens the recipe's data set and device, and puts the weights in place: those that it begins with, those
   * of `init`, or, with `resume`, all that was saved in `out` (with "auto" if there is something). With
   * `world` this process is one rank of several, all of which make the same calls. Throws as `train` does, and
   * ERR_ONEHOUR_RECIPE for what only `train` does (`trainOnly` in `lib/recipe/table.ts`).
   */
  static async open(recipe: RecipeInput, options: LoopOptions = {}): Promise<Trainer> {
    const onEvent = listenerOf(options, "Trainer.open", loopNames);
    const { world = alone, resume = false } = options;
    const parts = await prepareLoop(recipe, world, { resume, onEvent });
    const run: RunOptions = {
      ...parts,
      world,
      recipe: { ...parts.recipe, out: parts.recipe.out ?? "" },
      onEvent,
      keepsGradients: true,
    };
    let opened: Disposable = parts;
    try {
      const loaded = await loadRun(run);
      const trainer = new Trainer(run, loaded, parts);
      opened = trainer;
      await trainer.begin();
      return trainer;
    } catch (error) {
      opened[Symbol.dispose]();
      throw error;
    }
  }

  private readonly say = (text: string): void => {
    const { world, onEvent } = this.options;
    if (world.rank === 0) onEvent({ type: "message", text });
  };

  /** The recipe with nothing left to choose. */
  get recipe(): Recipe {
    return this.options.recipe;
  }

  /** Steps taken. */
  get done(): number {
    return this.progress.step;
  }

  /** The schedule's learning rate η of a step; of the next one by default. */
  rate(step = this.done): number {
    return this.schedule(step);
  }

  /** Rank 0 opens the folder and puts the weights in place; the others get them from it. */
  private async begin(): Promise<void> {
    const { world } = this.options;
    const own = world.rank === 0 ? await this.restore() : undefined;
    const [shared] = await world.gather("begin", JSON.stringify(own ?? null));
    this.progress.continue(JSON.parse(shared!) as Position, []);
    await this.saving.share();
    this.progress.startSteps();
  }

  private async restore(): Promise<Position> {
    const { recipe, resume } = this.options;
    const { out, timeout } = recipe;
    const hold = (seconds: number) => holdRunFolder(out, resume, { seconds, say: this.say });
    if (resume) this.lock = await hold(timeout);
    const position = await this.saving.restore(resume);
    if (out === "") return position;
    this.lock ??= await hold(0);
    await writeRecipe(out, recipe, this.saving.id);
    return position;
  }

  /** One thing at a time works on the device's slots. */
  private async alone<T>(work: () => Promise<T>): Promise<T> {
    if (this.isBusy) {
      throw new OnehourError(
        "ERR_ONEHOUR_USAGE",
        "a step begins when what came before has ended; await trainer.step()",
      );
    }
    this.isBusy = true;
    try {
      return await work();
    } catch (error) {
      throw await explain(this.options.world, error);
    } finally {
      this.isBusy = false;
    }
  }

  /**
   * Takes the next step: the images that `train` would take, forward, backward, the sum over the workers, the
   * update. Resolves once it is done. A loss that is not finite is the script's to notice. Throws
   * ERR_ONEHOUR_USAGE for a rate that is not a number of 0 or more, and while the step before is on its way.
   */
  async step(options: StepOptions = {}): Promise<TakenStep> {
    requireOptions(options, "step", ["lr"]);
    const { lr = this.rate() } = options;
    if (typeof lr !== "number" || !Number.isFinite(lr) || lr < 0) {
      throw new OnehourError(
        "ERR_ONEHOUR_USAGE",
        `expected a learning rate of 0 or more, got ${shown(lr)}`,
      );
    }
    return await this.alone(() => this.take(lr));
  }

  private async take(lr: number): Promise<TakenStep> {
    const { queue, sampler, recipe, progress } = this;
    const { accumulate } = recipe;
    const { step, lastLearningRate } = progress;
    const factor = momentumFactor(recipe, lr, lastLearningRate);
    const epoch = Math.floor(step / this.stepsPerEpoch);
    const numbers = { lr, momentumFactor: factor, emaRate: emaRate(recipe)(step) };
    let loss = Number.NaN;
    let top1 = Number.NaN;
    let scaling: Scaling | undefined;
    this.gradientScale = progress.lossScale;
    if (accumulate > 1) await clearGradients(queue.executor);
    for (let micro = 0; micro < accumulate; micro++) {
      const slot = await this.fill(sampler.group(step, this.options.world.rank, micro), epoch);
      writeNumbers(queue.executor.input(slot), this.loaded.compiled.input, numbers);
      if (micro < accumulate - 1) queue.submit("micro", slot);
      else
        await queue.submit("last", slot, (ended) => {
          const metrics = queue.metrics(ended);
          loss = metrics.loss;
          top1 = metrics.top1 / metrics.images;
          scaling = queue.scaling(ended);
        });
    }
    progress.finishStep({ step, lr, loss, top1, scaling });
    return { step, epoch, lr, loss, ...(scaling ? { scaling } : {}) };
  }

  private async fill(indices: Uint32Array, epoch: number): Promise<number> {
    const slot = await this.queue.acquire();
    try {
      await this.loader.fillTraining(this.queue.executor.input(slot), indices, epoch);
      return slot;
    } catch (error) {
      this.queue.release(slot);
      throw error;
    }
  }

  /**
   * The gradients of the last step, of the loss averaged over the minibatch and all workers, scaled where
   * `clipNorm` limits them, weight decay not in them: under the parameters' names, in torchvision's layout
   * (OIHW). Zeros before the first step; not finite in part after a step in fp16 that was skipped.
   */
  async gradients(): Promise<Map<string, Float32Array>> {
    const { executor, compiled } = this.loaded;
    const stored = await readFloats(executor, "grad");
    const isScaled = compiled.scaling.bytes > 0;
    const values = isScaled ? stored.map((g) => g / this.gradientScale) : stored;
    return new Map(split(values, compiled.parameters));
  }

  /** The parameters and running statistics, under torchvision's names and in its layout. */
  async weights(): Promise<Map<string, Float32Array>> {
    const { executor, compiled } = this.loaded;
    return (await stateOf(await readSnapshot(executor), compiled)).weights;
  }

  /**
   * Tests on the whole test set, each image once, with the mean of the workers' running statistics, which
   * `preciseBatchNorm` recomputes before; or tests the moving average of the weights. Throws ERR_ONEHOUR_RECIPE for
   * an average that the recipe does not keep.
   */
  async evaluate(options: TestOptions = {}): Promise<Evaluation> {
    requireOptions(options, "evaluate", ["ema"]);
    const { ema = false } = options;
    const { dataset, recipe, world, onEvent } = this.options;
    if (ema && recipe.emaDecay === undefined)
      throw refuse("emaDecay", "give the moving average a decay, such as 0.999, to test it");
    const { queue, loader, sampler, loaded } = this;
    const { compiled } = loaded;
    const { rank } = world;
    const show = (stage: Stage) => rank === 0 && onEvent({ type: "progress", ...stage });
    return await this.alone(async () => {
      const options = { recipe, dataset, compiled, queue, loader, sampler, rank, show };
      await recomputeStatistics(this.progress.position.epoch, options);
      if (world.worldSize > 1) await queue.submit("average", await queue.acquire());
      return (await evaluateSplit(queue, loader, dataset, recipe.batch, { world, ema }))!;
    });
  }

  /**
   * Saves a checkpoint in `out`, as `train` does; the one before is kept too. `Trainer.open({ out },
   * { resume: true })` goes on from it, bit for bit. Throws ERR_ONEHOUR_RECIPE without `out`, and the
   * system's error where nothing can be written; then the checkpoint before stays.
   */
  async save(): Promise<void> {
    if (this.options.recipe.out === "") throw refuse("out", "name the folder to save in");
    await this.alone(() => this.saving.saveNow());
  }

  [Symbol.dispose](): void {
    this.lock?.release();
    this.loaded.executor.dispose();
    this.parts[Symbol.dispose]();
  }
}
