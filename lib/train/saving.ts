// The weights of a run over its life: put in place, brought to all ranks, averaged and saved.

import type { CompiledModel, TensorLayout } from "../graph/compile.js";
import {
  formatCheckpoint,
  hasCheckpoint,
  isDiskFull,
  type ModelState,
  type Position,
  readCheckpoint,
  readLastCheckpoint,
  saveCheckpoint,
} from "./checkpoint.js";
import { otherHead, requireFit } from "./fit.js";
import { initialWeights } from "./initialize.js";
import type { RunRecipe } from "./prepare.js";
import type { Recipe } from "./recipe.js";
import { clearGradients, readState, writeWeights } from "./state.js";
import { gatherStatistics, type Statistics, scatterStatistics } from "./statistics.js";
import type { Team } from "./team.js";
import type { Queue } from "./trainer.js";

export interface SavingOptions {
  recipe: RunRecipe;
  compiled: CompiledModel;
  queue: Queue;
  team: Team;
  /** Steps of the run in all. */
  total: number;
  stepsPerEpoch: number;
  /** Where the run stands now. */
  position: () => Position;
  /** Tells the user, on rank 0 only. */
  say: (text: string) => void;
}

/** Where a new run stands. */
export function startOf(recipe: Recipe): Position {
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

export class Saving {
  /** Steps done when the ranks' running statistics were last averaged: the same on every rank. */
  averaged = 0;
  /** Steps done at the last save that succeeded. */
  saved: number | undefined;
  /** On rank 0: each rank's own running statistics, where the run continues from them. */
  private ranks: Statistics[] | undefined;
  private readonly layouts: TensorLayout[];

  constructor(private readonly options: SavingOptions) {
    const { parameters, statistics } = options.compiled;
    this.layouts = [...parameters, ...statistics];
  }

  /**
   * Writes weights to rank 0's device and tells where they stand: those of the last checkpoint if
   * the run is to continue from it, else given ones or new.
   */
  async restore(continues: boolean): Promise<Position> {
    const { recipe, compiled, queue, total, say } = this.options;
    const { parameters, statistics } = compiled;
    let state: ModelState & { position?: Position };
    if (continues && hasCheckpoint(recipe.out)) {
      const warn = (text: string) => say(`warning: ${text}`);
      state = await readLastCheckpoint(recipe.out, parameters, statistics, recipe.model, warn);
    } else if (recipe.init !== undefined) {
      state = await this.readInitial(recipe.init);
    } else {
      state = { weights: initialWeights(this.layouts, recipe.seed) };
    }
    await writeWeights(queue.executor, compiled, state);
    const position = state.position ?? startOf(recipe);
    // Behind the last step nothing is left but to evaluate, with the average.
    this.ranks = position.step < total ? state.ranks : undefined;
    return position;
  }

  /** Weights of a file, with a new head where the file's tells another number of classes apart. */
  private async readInitial(file: string): Promise<ModelState> {
    const { recipe, say } = this.options;
    const given = await readCheckpoint(file);
    const head = otherHead(given.shapes, this.layouts);
    requireFit(file, given, this.layouts, recipe.model, head);
    if (!head) return { weights: given.weights };
    const names = head.tensors.map(({ name }) => name);
    say(
      `${file} tells ${head.given} classes apart and the data set has ${head.wanted}: ` +
        `${names.join(" and ")} start anew, all other weights are the file's`,
    );
    const fresh = initialWeights(head.tensors, recipe.seed);
    return { weights: new Map([...given.weights, ...fresh]) };
  }

  /**
   * Brings what was restored on rank 0 to all ranks, to each its own running statistics where there
   * are such, and clears the gradients.
   */
  async share(): Promise<void> {
    const { compiled, queue, team } = this.options;
    if (team.size > 1) {
      await this.runOnce("broadcast");
      await scatterStatistics(queue.executor, compiled, team, this.ranks);
    }
    await clearGradients(queue.executor);
  }

  /** Averages the running statistics, which all ranks take part in, and writes a checkpoint. */
  async save(): Promise<void> {
    const { compiled, queue, team, stepsPerEpoch, position } = this.options;
    const { step } = position();
    if (team.size > 1) {
      // An unbroken run averages at an epoch's end only.
      const isWithin = step % stepsPerEpoch !== 0;
      this.ranks = isWithin ? await gatherStatistics(queue.executor, compiled, team) : undefined;
      await this.runOnce("average");
    }
    this.averaged = step;
    await this.write();
  }

  /** Writes on rank 0; a disk that takes no checkpoint is warned of, and training goes on. */
  async write(): Promise<void> {
    const { recipe, compiled, queue, team, position, say } = this.options;
    const { step } = position();
    if (team.rank !== 0) {
      this.saved = step;
      return;
    }
    const state = {
      ...(await readState(queue.executor, compiled)),
      ...(this.ranks ? { ranks: this.ranks } : {}),
    };
    try {
      const pieces = formatCheckpoint(this.layouts, state, position(), recipe.model);
      await saveCheckpoint(recipe.out, pieces);
      this.saved = step;
    } catch (error) {
      const reason = (error as Error).message;
      const kept =
        this.saved === undefined ? "there is none yet" : `the one of step ${this.saved} is kept`;
      say(
        `warning: the checkpoint of step ${step} could not be saved (${reason}); ${kept}. ` +
          `${isDiskFull(error) ? "Free some space" : "Make it possible to write"} in ${recipe.out}; ` +
          "training goes on and tries again",
      );
    }
  }

  private async runOnce(program: string): Promise<void> {
    const { queue } = this.options;
    await queue.submit(program, await queue.acquire());
    await queue.drain();
  }
}
