// `Trainer`: training step by step, for a script that writes the loop itself.
import { Loader } from "../data/loader.js";
import { Sampler } from "../data/sampler.js";
import { OnehourError } from "../errors.js";
import { titleOf } from "../modules/pinned.js";
import type { World } from "../ranks/connect.js";
import type { Recipe, RecipeInput } from "../recipe/fields.js";
import { readCheckpoint } from "../run-folder/checkpoint.js";
import { requireModelWeights } from "../run-folder/model-weights.js";
import { momentumFactor, type Schedule, scheduleOf } from "../schedules/schedule.js";
import { shown } from "../text/words.js";
import { totalSteps } from "./describe.js";
import { type Evaluation, evaluateSplit } from "./evaluate.js";
import { initialWeights } from "./initialize.js";
import { type LoadedRun, loadRun } from "./load-run.js";
import type { RunOptions } from "./prepare.js";
import { readFloats, readSnapshot, split, stateOf, writeWeights } from "./state.js";
import { Queue, writeRate } from "./step-queue.js";
import { prepareLoop } from "./train.js";

export interface StepOptions {
  /** The learning rate η of this step; the schedule's. */
  lr?: number;
}

/** A step that was taken. */
export interface TakenStep {
  /** From 0. */
  step: number;
  epoch: number;
  lr: number;
  /** Data loss averaged over the kn images of all workers. */
  loss: number;
}

/**
 * Trains step by step: the same steps that `train` takes, with the rate, the loss and the gradients at hand
 * between them. It writes no run folder and no log, and the fields that are about them do nothing.
 */
export class Trainer implements Disposable {
  private readonly queue: Queue;
  private readonly sampler: Sampler;
  private readonly loader: Loader;
  private readonly schedule: Schedule;
  private lastLearningRate: number | undefined;
  private stepping = false;
  /** Steps of the schedule, or those of the recipe's `steps`; a script may take more or fewer. */
  readonly steps: number;
  readonly stepsPerEpoch: number;
  /** Steps taken. */
  done = 0;

  private constructor(
    private readonly options: RunOptions,
    private readonly loaded: LoadedRun,
    private readonly dispose: () => void,
  ) {
    const { recipe, dataset } = options;
    const { workers, accumulate, batch, seed, augment } = recipe;
    const { compiled, executor } = loaded;
    const { train, shards } = dataset;
    this.queue = new Queue(executor, compiled.output);
    this.sampler = new Sampler({ images: train.length, workers, accumulate, batch, seed, shards });
    this.loader = new Loader({ dataset, layout: compiled.input, batch, seed, augment });
    this.schedule = loaded.buildSchedule(scheduleOf(recipe, this.sampler));
    this.stepsPerEpoch = this.sampler.stepsPerEpoch;
    this.steps = totalSteps(recipe, this.stepsPerEpoch);
  }

  /**
   * Opens the recipe's data set and device, and puts the weights in place: those that it begins with, or
   * of `init`. With `world` this process is one rank of several, all of which make the same calls. Throws
   * as `train` does.
   */
  static async open(recipe: RecipeInput, options: { world?: World } = {}): Promise<Trainer> {
    const parts = await prepareLoop(recipe, options.world);
    let loaded: LoadedRun | undefined;
    const dispose = () => {
      loaded?.executor.dispose();
      parts[Symbol.dispose]();
    };
    try {
      const run: RunOptions = {
        ...parts,
        recipe: { ...parts.recipe, out: parts.recipe.out ?? "" },
        resume: false,
        onEvent: () => {},
      };
      loaded = await loadRun(run);
      const trainer = new Trainer(run, loaded, dispose);
      await trainer.begin();
      return trainer;
    } catch (error) {
      dispose();
      throw error;
    }
  }

  /** The recipe with nothing left to choose. */
  get recipe(): Recipe {
    return this.options.recipe;
  }

  private async begin(): Promise<void> {
    const { init, model, seed } = this.recipe;
    const { compiled, executor } = this.loaded;
    const layouts = [...compiled.parameters, ...compiled.statistics];
    if (init === undefined) {
      await writeWeights(executor, compiled, { weights: initialWeights(layouts, seed) });
      return;
    }
    const given = await readCheckpoint(init);
    requireModelWeights(init, given, layouts, titleOf(model));
    await writeWeights(executor, compiled, { weights: given.weights });
  }

  /** The schedule's learning rate η of a step; of the next one by default. */
  rate(step = this.done): number {
    return this.schedule(step);
  }

  /**
   * Takes the next step: the images that `train` would take, forward, backward, the sum over the workers, the
   * update. Resolves once it is done. A loss that is not finite is the script's to notice. Throws
   * ERR_ONEHOUR_USAGE for a rate that is not a number of 0 or more, and while the step before is on its way.
   */
  async step({ lr = this.rate() }: StepOptions = {}): Promise<TakenStep> {
    if (typeof lr !== "number" || !Number.isFinite(lr) || lr < 0) {
      throw new OnehourError(
        "ERR_ONEHOUR_USAGE",
        `expected a learning rate of 0 or more, got ${shown(lr)}`,
      );
    }
    if (this.stepping) {
      throw new OnehourError(
        "ERR_ONEHOUR_USAGE",
        "a step begins when the one before has ended; await trainer.step()",
      );
    }
    this.stepping = true;
    try {
      return await this.take(lr);
    } finally {
      this.stepping = false;
    }
  }

  private async take(lr: number): Promise<TakenStep> {
    const { queue, sampler, recipe } = this;
    const { accumulate } = recipe;
    const step = this.done;
    const epoch = Math.floor(step / this.stepsPerEpoch);
    const factor = momentumFactor(recipe, lr, this.lastLearningRate);
    let loss = Number.NaN;
    for (let micro = 0; micro < accumulate; micro++) {
      const slot = await this.fill(sampler.group(step, this.options.team.rank, micro), epoch);
      writeRate(queue.executor.input(slot), this.loaded.compiled.input.schedule, lr, factor);
      if (micro < accumulate - 1) queue.submit("micro", slot);
      else
        await queue.submit("last", slot, (ended) => {
          loss = queue.metrics(ended).loss;
        });
    }
    this.lastLearningRate = lr;
    this.done++;
    return { step, epoch, lr, loss };
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
   * The gradients of the last step, of the loss averaged over the minibatch and all workers, weight decay not
   * in them: under the parameters' names, in torchvision's layout (OIHW). Throws ERR_ONEHOUR_USAGE with
   * `accumulate` above 1, where each step leaves zeros to add to.
   */
  async gradients(): Promise<Map<string, Float32Array>> {
    const { accumulate } = this.recipe;
    if (accumulate > 1) {
      throw new OnehourError(
        "ERR_ONEHOUR_USAGE",
        `a step of ${accumulate} micro-batches leaves no gradients; expected accumulate: 1`,
      );
    }
    const { executor, compiled } = this.loaded;
    return new Map(split(await readFloats(executor, "grad"), compiled.parameters));
  }

  /** The parameters and running statistics, under torchvision's names and in its layout. */
  async weights(): Promise<Map<string, Float32Array>> {
    const { executor, compiled } = this.loaded;
    return (await stateOf(await readSnapshot(executor), compiled)).weights;
  }

  /** Tests on the whole test set, each image once, with the mean of the workers' running statistics. */
  async evaluate(): Promise<Evaluation> {
    const { dataset, team } = this.options;
    if (team.size > 1) await this.queue.submit("average", await this.queue.acquire());
    return (await evaluateSplit(this.queue, this.loader, dataset, this.recipe.batch, team))!;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
