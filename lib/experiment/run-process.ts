// One run of an experiment, in a process of its own: trains what it is given, or goes on with it, and tells its parent.
import "../ranks/guard.js";
import { native } from "../device/native.js";
import type { RecipeInput } from "../recipe/fields.js";
import { setVoice, type Voice } from "../recipe/voice.js";
import { seconds } from "../system/clock.js";
import { train } from "../train/train.js";

/** The only argument, as JSON. */
export interface RunOrder {
  recipe: RecipeInput;
  /** Processors to keep to. */
  processors?: number[];
  /** How messages name fields. */
  voice: Voice;
}

export type RunReport =
  /** The share of the steps that is done. */
  { done: number } | { failed: { message: string; code?: string } };

/** Seconds between two reports of progress. */
const interval = 0.5;

const { recipe, processors, voice } = JSON.parse(process.argv[2]!) as RunOrder;

/** Where the parent was killed nobody listens, and the run saves and ends. */
function tell(report: RunReport): void {
  if (process.connected) process.send!(report, () => {});
}
process.on("disconnect", () => process.kill(process.pid, "SIGTERM"));
process.channel?.unref(); // it keeps nothing alive
if (!process.connected) process.exit(1);

setVoice(voice);
let told = Number.NEGATIVE_INFINITY;
try {
  if (processors) native.bindProcess(processors);
  await train(recipe, {
    resume: "auto",
    output: null,
    onEvent: (event) => {
      if (event.type !== "step" || seconds() - told < interval) return;
      told = seconds();
      tell({ done: (event.step + 1) / event.steps });
    },
  });
} catch (error) {
  const { message, code } = error as Error & { code?: string };
  tell({ failed: { message, ...(code === undefined ? {} : { code }) } });
  process.exitCode = 1;
}
