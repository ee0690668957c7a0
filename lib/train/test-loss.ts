// Explains a test loss that is not finite: whether the weights and statistics are, and what to try.

import { OnehourError } from "../errors.js";
import type { CompiledModel } from "../graph/compile.js";
import type { World } from "../ranks/world.js";
import { nameOf } from "../recipe/voice.js";
import { plural } from "../text/words.js";
import { type BadLayer, firstBad } from "./fault.js";
import { readSnapshot, stateOf } from "./state.js";
import type { Queue } from "./step-queue.js";

/**
 * A warning for a loss of finite weights and running statistics; all ranks call it alike. Throws
 * ERR_ONEHOUR_NOT_FINITE naming the layer where they are not.
 */
export async function explainTestLoss(
  loss: number,
  step: number,
  { compiled, queue, world }: { compiled: CompiledModel; queue: Queue; world: World },
): Promise<string> {
  const own = firstBad(await stateOf(await readSnapshot(queue.executor), compiled), compiled);
  const all = (await world.gather("test-loss", JSON.stringify(own ?? null))).map(
    (text) => JSON.parse(text) as BadLayer | null,
  );
  const [first] = all.filter((layer) => layer !== null).sort((a, b) => a.order - b.order);
  if (first) {
    throw new OnehourError(
      "ERR_ONEHOUR_NOT_FINITE",
      `the test loss after ${plural(step, "step")} is ${loss}: not finite first in ${first.name}. ` +
        `Try a smaller rate (${nameOf("lr")}) or a longer warm-up`,
    );
  }
  return (
    `warning: the test loss after ${plural(step, "step")} is ${loss}, although all weights are finite: with the ` +
    "running statistics, which training does not use, outputs overflow. Such images count as " +
    "wrong and log.jsonl has null; training goes on. More steps bring the statistics nearer, as does " +
    nameOf("preciseBatchNorm")
  );
}
