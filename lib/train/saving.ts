// Puts a run's weights in place, brings them to all ranks, averages and saves them.

import { join } from "node:path";
import { type Dataset, testShape } from "../data/dataset.js";
import { OnehourError } from "../errors.js";
import type { CompiledModel, TensorLayout } from "../graph/compile.js";
import { shortName, titleOf } from "../modules/pinned.js";
import type { World } from "../ranks/world.js";
import type { Recipe } from "../recipe/fields.js";
import {
  fixedFields,
  newRunId,
  readRunId,
  requireSameRecipe,
  requireSameRun,
} from "../recipe/run-recipe.js";
import { setting } from "../recipe/voice.js";
import {
  bestName,
  checkpointName,
  formatCheckpoint,
  type ModelState,
  previousName,
  readCheckpoint,
} from "../run-folder/checkpoint.js";
import { isDiskFull, keepAs } from "../run-folder/files.js";
import {
  hasCheckpoint,
  type RunState,
  readLastCheckpoint,
  saveCheckpoint,
} from "../run-folder/last-checkpoint.js";
import { otherHead, requireModelWeights } from "../run-folder/model-weights.js";
import { type Course, type Position, requireOnCourse } from "../run-folder/position.js";
import { resumeCommand } from "../text/command.js";
import { oneLine, plural, warning } from "../text/words.js";
import { initialWeights } from "./initialize.js";
import type { RunRecipe } from "./prepare.js";
import { clearGradients, readSnapshot, type Snapshot, stateOf, writeWeights } from "./state.js";
import {
  gatherStatistics,
  putStatistics,
  type Statistics,
  scatterStatistics,
} from "./statistics.js";
import type { Queue } from "./step-queue.js";

interface SavingOptions {
  recipe: RunRecipe;
  compiled: CompiledModel;
  queue: Queue;
  world: World;
  dataset: Dataset;
  /** Steps of the run in all. */
  total: number;
  course: Course;
  /** Where the run stands now. */
  position: () => Position;
  /** Writes the log of the steps done to the disk. */
  syncLog: () => Promise<void>;
  /** Shows a message to the user, on rank 0 only. */
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
    top1Sum: 0,
    epochSeconds: 0,
    seconds: 0,
  };
}

export class Saving {
  /** Steps done when the ranks' running statistics were last averaged: the same on every rank. */
  averaged = 0;
  /** Steps done at the last save that succeeded. */
  saved: number | undefined;
  /** Why a checkpoint could not be saved, in brackets. */
  private lastProblem = "";
  /** Whether the run is at its end, so that no later save makes up for one that fails. */
  isLast = false;
  /** On rank 0: the run's id, once it is restored. */
  id = "";
  /** On rank 0: each rank's own running statistics, where the run continues from them. */
  private ranks: Statistics[] | undefined;
  /** The file of the checkpoint that `saved` counts. */
  private file = checkpointName;
  /** Steps of the best checkpoint that is still to be kept as such. */
  private best: number | undefined;
  private writing: Promise<void> | undefined;
  private readonly layouts: TensorLayout[];

  constructor(private readonly options: SavingOptions) {
    const { parameters, statistics } = options.compiled;
    this.layouts = [...parameters, ...statistics];
  }

  /**
   * Writes weights to rank 0's device and returns where the run stands: those of the last checkpoint if
   * the run is to continue from it, else given or new ones.
   */
  async restore(continues: boolean): Promise<Position> {
    const { recipe, compiled, queue, world, total, course, say } = this.options;
    let state: ModelState & { position?: Position };
    this.id = continues ? await readRunId(recipe.out) : newRunId();
    if (continues && hasCheckpoint(recipe.out)) {
      const warn = (text: string) => say(warning(text));
      const last = await readLastCheckpoint(recipe.out, compiled, titleOf(recipe.model), warn);
      const file = join(recipe.out, last.name);
      requireSameRecipe(file, last.recipe, recipe);
      requireSameRun(file, last.id, this.id);
      const { workers, accumulate } = last.recipe;
      if (workers !== recipe.workers) {
        say(
          `workers × micro-batches were ${workers} × ${accumulate} so far, and are ${recipe.workers} × ` +
            `${recipe.accumulate} now: the same steps, with losses equal to rounding`,
        );
      }
      requireOnCourse(file, last.position, course);
      this.requireSameData(last);
      this.file = last.name;
      state = last;
    } else if (recipe.init !== undefined) {
      state = await this.readInitial(recipe.init);
    } else {
      state = { weights: initialWeights(this.layouts, recipe) };
    }
    const position = state.position ?? startOf(recipe);
    await writeWeights(queue.executor, compiled, state, position.scaling);
    // After the last step nothing is left but to evaluate, with the average; other workers begin with it.
    const isSame = state.ranks?.length === world.worldSize;
    this.ranks = isSame && position.step < total ? state.ranks : undefined;
    return position;
  }

  /** Refuses other images: an epoch's order is one of images by number, so it would be another run. */
  private requireSameData({ data, position: { step } }: RunState): void {
    const { recipe, dataset } = this.options;
    if (data === dataset.fingerprint) return;
    throw new OnehourError(
      "ERR_ONEHOUR_DATA",
      `the images of ${shortName(recipe.dataset)} are not those of the run's first ${plural(step, "step")}: files were ` +
        "added, removed or changed. Put them back, or start another run from its weights: " +
        setting("init", join(recipe.out, this.file)),
    );
  }

  /** Weights of a file, with a new head where the file's has another number of classes. */
  private async readInitial(file: string): Promise<ModelState> {
    const { recipe, say } = this.options;
    const given = await readCheckpoint(file);
    const head = otherHead(given.shapes, this.layouts);
    requireModelWeights(file, given, this.layouts, titleOf(recipe.model), head);
    if (!head) return { weights: given.weights };
    const names = head.tensors.map(({ name }) => name);
    say(
      `${file} has ${plural(head.given, "class")} and the data set ${head.wanted}: ` +
        `${names.join(" and ")} start anew, all other weights are the file's`,
    );
    const fresh = initialWeights(head.tensors, recipe);
    return { weights: new Map([...given.weights, ...fresh]) };
  }

  /**
   * Brings what was restored on rank 0 to all ranks, to each its own running statistics where there
   * are such, and clears the gradients.
   */
  async share(): Promise<void> {
    const { compiled, queue, world } = this.options;
    if (world.worldSize > 1) {
      await this.runOnce("broadcast");
      await scatterStatistics(queue.executor, compiled, world, this.ranks);
    }
    await clearGradients(queue.executor);
  }

  /** Averages the running statistics, which all ranks take part in, and begins a checkpoint. */
  async save(): Promise<void> {
    const { queue, compiled, world, course, position } = this.options;
    const { step } = position();
    if (world.worldSize > 1) {
      // An unbroken run averages at an epoch's end only.
      const isWithin = step % course.stepsPerEpoch !== 0;
      this.ranks = isWithin ? await gatherStatistics(queue.executor, compiled, world) : undefined;
      await this.runOnce("average");
    }
    this.averaged = step;
    await this.write();
  }

  /**
   * Begins a checkpoint within an epoch, which leaves the device as it is; all ranks take part. The
   * file's average is the device's, as that of an epoch's end is: another way to compute it would
   * round otherwise.
   */
  async saveWithin(write = () => this.write()): Promise<void> {
    const { queue, compiled, world } = this.options;
    if (world.worldSize === 1) return await write();
    this.ranks = await gatherStatistics(queue.executor, compiled, world);
    const own = this.ranks[world.rank]!;
    await this.runOnce("average");
    await write();
    await putStatistics(queue.executor, compiled, own);
  }

  /** As `saveWithin`, but waits for the disk, and throws where it takes none. */
  async saveNow(): Promise<void> {
    const { queue, world, position } = this.options;
    await this.saveWithin(async () => {
      if (world.rank === 0) await this.put(await readSnapshot(queue.executor), position());
    });
  }

  /** Throws ERR_ONEHOUR_CHECKPOINT unless the checkpoint of the run's last step was saved. */
  requireSaved(step: number): void {
    const { out } = this.options.recipe;
    if (step === 0 || this.saved === step) return;
    throw new OnehourError(
      "ERR_ONEHOUR_CHECKPOINT",
      `the run has ended, but its checkpoint could not be saved in ${out}${this.lastProblem}; correct it and ` +
        `repeat the last steps: ${resumeCommand(out)}`,
    );
  }

  /** Whether a checkpoint is on its way to the disk. */
  get isWriting(): boolean {
    return this.writing !== undefined;
  }

  /** Waits for the checkpoint that is being written, if there is one. */
  async written(): Promise<void> {
    while (this.writing) await this.writing;
  }

  /**
   * On rank 0, copies the state from the device and has it written while training goes on, after an
   * earlier checkpoint's end. Nothing may be queued.
   */
  async write(): Promise<void> {
    const { queue, world, position } = this.options;
    if (world.rank !== 0) {
      this.saved = position().step;
      return;
    }
    await this.written();
    const snapshot = await readSnapshot(queue.executor);
    this.follow(this.store(snapshot, position()));
  }

  /** Keeps the checkpoint of the steps done as best.safetensors too, once it is written. */
  keepBest(): void {
    const { world, position } = this.options;
    if (world.rank !== 0) return;
    this.best = position().step;
    this.follow((this.writing ?? Promise.resolve()).then(() => this.linkBest()));
  }

  private follow(work: Promise<void>): void {
    const writing = work.finally(() => {
      if (this.writing === writing) this.writing = undefined;
    });
    this.writing = writing;
  }

  private async put(snapshot: Snapshot, position: Position): Promise<void> {
    const { recipe, dataset, compiled } = this.options;
    const { mean, std, classes } = dataset;
    const { ranks } = this;
    const state = { ...(await stateOf(snapshot, compiled)), ...(ranks ? { ranks } : {}) };
    const pieces = await formatCheckpoint(this.layouts, state, position, titleOf(recipe.model), {
      id: this.id,
      data: dataset.fingerprint,
      images: { ...testShape(dataset), mean, std, classes },
      recipe: fixedFields(recipe),
      ...(recipe.imageSize === undefined ? {} : { imageSize: recipe.imageSize }),
    });
    await this.options.syncLog();
    await saveCheckpoint(recipe.out, pieces, this.file === previousName);
    this.saved = position.step;
    this.file = checkpointName;
  }

  /** Writes a checkpoint; where the disk takes none, warns, and training goes on. */
  private async store(snapshot: Snapshot, position: Position): Promise<void> {
    const { step } = position;
    try {
      await this.put(snapshot, position);
    } catch (error) {
      const kept =
        this.saved === undefined ? "there is none yet" : `the one of step ${this.saved} is kept`;
      const next = this.isLast
        ? ""
        : step < this.options.total
          ? "; training goes on and tries again"
          : "; it is tried again at the end";
      const problem = `the checkpoint of step ${step} could not be saved`;
      this.lastProblem = ` (${oneLine((error as Error).message)})`;
      this.warn(problem, error as Error, kept, next);
    }
    await this.linkBest();
  }

  private async linkBest(): Promise<void> {
    const { best, saved, file } = this;
    if (best === undefined || best !== saved) return;
    this.best = undefined;
    try {
      await keepAs(this.options.recipe.out, file, bestName);
    } catch (error) {
      const problem = `the checkpoint of step ${best} could not be kept as ${bestName}`;
      this.warn(problem, error as Error, `it is ${file} until the next`, "");
    }
  }

  private warn(problem: string, error: Error, kept: string, next: string): void {
    const { recipe, say } = this.options;
    const remedy = isDiskFull(error) ? "Free some space" : "Make it possible to write";
    const advice = error instanceof OnehourError ? "" : `. ${remedy} in ${recipe.out}`;
    say(warning(`${problem} (${oneLine(error.message)}); ${kept}${advice}${next}`));
  }

  private async runOnce(program: string): Promise<void> {
    const { queue } = this.options;
    await queue.submit(program, await queue.acquire());
    await queue.drain();
  }
}
