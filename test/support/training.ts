// Trains in this process, without output, and collects what the run reports.
import type { RecipeInput } from "../../lib/recipe/fields.js";
import type { Resume } from "../../lib/run-folder/run-folder.js";
import type { Result, RunEvent } from "../../lib/train/events.js";
import { train } from "../../lib/train/train.js";

/** A small network on one thread of the CPU. */
export const small = { model: "resnet8", device: "cpu", threads: 1 } as const;

interface Options {
  resume?: Resume;
  /** Called with each event as it comes. */
  watch?: (event: RunEvent) => void;
}

interface Reported {
  events: RunEvent[];
  /** Its messages, one a line. */
  text: string;
}

/** Trains; a failure is a result too. */
export async function attempted(
  recipe: RecipeInput,
  { resume = false, watch = () => {} }: Options = {},
): Promise<Reported & { result?: Result; error?: Error }> {
  const events: RunEvent[] = [];
  const onEvent = (event: RunEvent) => {
    events.push(event);
    watch(event);
  };
  const end = await train(recipe, { output: null, resume, onEvent }).then(
    (result) => ({ result }),
    (error: Error) => ({ error }),
  );
  const text = events.flatMap((event) => (event.type === "message" ? [event.text] : [])).join("\n");
  return { ...end, events, text };
}

/** Trains, or throws what the run throws. */
export async function trained(
  recipe: RecipeInput,
  options: Options = {},
): Promise<Reported & { result: Result }> {
  const { result, error, ...reported } = await attempted(recipe, options);
  if (!result) throw error;
  return { result, ...reported };
}

/** Resumes the run in a folder with these changes. */
export const resumed = (out: string, changes: RecipeInput = {}) =>
  trained({ ...changes, out }, { resume: true });
