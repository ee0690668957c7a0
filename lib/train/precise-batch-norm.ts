// Precise batch norm: recomputes the running statistics as the mean over batches, with the current weights.

import { inAdvance } from "../arrays/in-advance.js";
import type { Dataset } from "../data/dataset.js";
import type { Loader } from "../data/loader.js";
import type { Sampler } from "../data/sampler.js";
import type { CompiledModel } from "../graph/compile.js";
import type { Recipe } from "../recipe/fields.js";
import type { Stage } from "../terminal/stages.js";
import { count, counted } from "../text/words.js";
import { batchesAhead } from "./prepare.js";
import type { Queue } from "./step-queue.js";

interface PreciseBatchNormOptions {
  recipe: Recipe;
  dataset: Dataset;
  compiled: CompiledModel;
  queue: Queue;
  loader: Loader;
  sampler: Sampler;
  rank: number;
  show: (stage: Stage) => void;
}

/**
 * Sets this rank's running statistics to the mean of those of the epoch's first
 * `recipe.preciseBatchNorm` batches of n images, in training mode; the ranks' are still to be averaged.
 * With 0 of them nothing changes. Every rank takes part, with nothing queued.
 * Source: Wu and Johnson, "Rethinking 'Batch' in BatchNorm", 2021.
 */
export async function recomputeStatistics(
  epoch: number,
  options: PreciseBatchNormOptions,
): Promise<void> {
  const { recipe, dataset, compiled, queue, loader, sampler, rank, show } = options;
  if (recipe.preciseBatchNorm === 0) return;
  const { executor } = queue;
  const { offset, bytes } = compiled.running;
  await executor.write("state", offset, new Uint8Array(bytes)); // the program adds to them
  const fill = async (i: number) => {
    const step = epoch * sampler.stepsPerEpoch + Math.floor(i / recipe.accumulate);
    const indices = sampler.group(step, rank, i % recipe.accumulate);
    const slot = await queue.acquire();
    await loader.fillTraining(executor.input(slot), indices, epoch);
    return slot;
  };
  let next = 0;
  const slots = inAdvance(batchesAhead(dataset, recipe.batch), () =>
    next < recipe.preciseBatchNorm ? fill(next++) : undefined,
  );
  let done = 0;
  for await (const slot of slots) {
    show({
      text: "recomputing batch norm's statistics",
      share: done / recipe.preciseBatchNorm,
      details: [`${count(done++)} of ${counted(recipe.preciseBatchNorm, "batch")}`],
    });
    queue.submit("statistics", slot);
  }
  await queue.drain();
}
