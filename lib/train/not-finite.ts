// The error of a step that was not finite: repeats the steps before it to name the layer where that began.

import { OnehourError } from "../errors.js";
import type { CompiledModel } from "../graph/compile.js";
import type { World } from "../ranks/world.js";
import type { Recipe } from "../recipe/fields.js";
import { setting } from "../recipe/voice.js";
import { lossText } from "../text/words.js";
import { type BadLayer, firstBad } from "./fault.js";
import { type Saving, startOf } from "./saving.js";
import { readSnapshot, stateOf } from "./state.js";
import { isBroken, type Queue, type StepQueue, type StepResult } from "./step-queue.js";

const repeatLimit = 60_000; // ms of repeated steps

interface NotFiniteOptions {
  recipe: Recipe;
  compiled: CompiledModel;
  queue: Queue;
  world: World;
  saving: Saving;
  /** A queue that goes on after a step of that rate. */
  trainer: (
    lastLearningRate: number | undefined,
    onStep: (result: StepResult) => void,
  ) => StepQueue;
  /** Milliseconds that a step has taken. */
  perStep: number;
  /** Shows a message to the user, on rank 0 only. */
  say: (text: string) => void;
}

/**
 * Names the first layer that was not finite. The steps queued after the faulty one have spread it
 * everywhere, so the steps since the last checkpoint are repeated up to it, unless that takes too long.
 */
async function locate(fault: StepResult, options: NotFiniteOptions): Promise<string> {
  const { recipe, compiled, queue, world, saving, trainer, perStep, say } = options;
  const { loss, scaling } = fault;
  const bucket = compiled.buckets[fault.bad.findIndex((count) => count !== 0)];
  const gradients = bucket
    ? `gradients between ${bucket.parameters[0]} and ${bucket.parameters.at(-1)} are not finite`
    : "its gradients are finite";
  // Nothing was updated from them, so repeating would show no more.
  if (scaling && Number.isFinite(loss)) return `${gradients}, whatever the loss scale`;
  const mine =
    world.rank === 0 ? await saving.restore(saving.saved !== undefined) : startOf(recipe);
  const proposal = { ...mine, repeat: (fault.step - mine.step) * perStep < repeatLimit };
  const plan: typeof proposal = JSON.parse(
    (await world.gather("repeat", JSON.stringify(proposal)))[0]!,
  );
  if (!plan.repeat) return gradients;
  say(`step ${fault.step} is not finite; repeating from step ${plan.step} to see where`);
  await saving.share();
  let repeated: StepResult | undefined;
  const again = trainer(plan.lastLearningRate, (result) => {
    repeated = result;
  });
  for (let step = plan.step; step <= fault.step; step++) await again.queueStep(step);
  await again.drain();
  await again.discard();
  const own = firstBad(await stateOf(await readSnapshot(queue.executor), compiled), compiled);
  const all = (await world.gather("bad layer", JSON.stringify(own ?? null))).map(
    (text) => JSON.parse(text) as BadLayer | null,
  );
  const earliest = all.filter((layer) => layer !== null).sort((a, b) => a.order - b.order)[0];
  if (!repeated || !isBroken(repeated))
    return `${gradients}, but not so when repeated, which points to a fault of memory or of the machine`;
  if (earliest) return `first in ${earliest.name}`;
  // A step that was skipped has left the parameters as they were.
  const largest =
    recipe.precision === "fp16" ? " (in fp16 numbers from 65,520 on are infinite)" : "";
  const what =
    compiled.statistics.length > 0
      ? "what comes after the last batch norm is not finite"
      : "the outputs of layers are not finite, though the weights are";
  return `${what}, and so again when repeated${largest}`;
}

/** What to try; no rate has had a part in the first step, nor where a loss cannot be scaled. */
export function adviceFor(
  { step, loss, scaling }: Pick<StepResult, "step" | "loss" | "scaling">,
  { init, lr }: Pick<Recipe, "init" | "lr">,
): string {
  if (scaling && Number.isFinite(loss))
    return `Try a precision that has larger numbers (${setting("precision", "bf16")}, or fp32)`;
  if (step > 0) return `Try a smaller rate (${setting("lr", lr / 2)}) or a longer warm-up`;
  const cause = init === undefined ? "the images or the precision" : `the weights of ${init}`;
  return `No update came before it, so look at ${cause}, not at the rate`;
}

/**
 * The error for a step that was not finite: the layer where that began, and what is kept. All ranks
 * call it alike, with nothing queued.
 */
export async function notFinite(
  fault: StepResult,
  options: NotFiniteOptions,
): Promise<OnehourError> {
  const { recipe, saving } = options;
  await saving.written();
  const where = await locate(fault, options);
  const kept =
    saving.saved === undefined
      ? "No checkpoint was saved before it"
      : `The checkpoint of step ${saving.saved} is kept`;
  return new OnehourError(
    "ERR_ONEHOUR_NOT_FINITE",
    `step ${fault.step} is not finite: loss ${lossText(fault.loss)}, lr ${fault.lr}; ${where}. ${kept}. ` +
      adviceFor(fault, recipe),
  );
}
