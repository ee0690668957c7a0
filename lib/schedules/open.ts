// The schedule that a recipe names: one of the table's, or a module of the user's.
import { OnehourError, UsageError } from "../errors.js";
import { loadPinned, modulePath } from "../modules/pinned.js";
import { shown } from "../text/words.js";
import { isSchedule, schedules } from "./index.js";
import {
  afterWarmup,
  type ScheduleBuilder,
  type StepInfo,
  stepsOf,
  warmupSteps,
} from "./schedule.js";

const expected = "a function of a step to its learning rate, ({ peak, done }) => peak * (1 - done)";

/**
 * Loads the user's module where the recipe names one. Throws ERR_ONEHOUR_MODULE where it cannot, and where its
 * first or last rate is not a number of 0 or more. The schedule throws ERR_ONEHOUR_SCHEDULE, naming the step,
 * where the module throws or gives such a rate.
 */
export async function openSchedule(name: string): Promise<ScheduleBuilder> {
  if (isSchedule(name)) return schedules[name];
  const rate = await loadPinned(name, expected);
  const refuse = (problem: string, cause?: unknown): never => {
    throw new OnehourError("ERR_ONEHOUR_SCHEDULE", `${modulePath(name)} ${problem}`, { cause });
  };
  const asUsage = (message: string, cause?: unknown) =>
    new UsageError("ERR_ONEHOUR_MODULE", message, { cause });
  if (typeof rate !== "function")
    throw asUsage(`${modulePath(name)} exports ${shown(rate)}; expected ${expected}`);
  const build = afterWarmup((info) => {
    let value: unknown;
    try {
      value = (rate as (info: StepInfo) => unknown)(info);
    } catch (error) {
      const reason = error instanceof Error ? error.message : shown(error);
      refuse(`fails at step ${info.step} (${reason}); expected a number of 0 or more`, error);
    }
    if (typeof value === "number" && Number.isFinite(value) && value >= 0) return value;
    return refuse(
      `gives ${shown(value)} as the rate of step ${info.step}; expected a number of 0 or more`,
    );
  });
  return (options) => {
    const schedule = build(options);
    // The module's first and last rate, so that a mistake shows before the run begins. A run that is all
    // warm-up has none.
    const last = stepsOf(options.epochs, options.stepsPerEpoch) - 1;
    try {
      for (const step of [Math.min(warmupSteps(options), last), last]) schedule(step);
    } catch (error) {
      throw asUsage((error as Error).message, error);
    }
    return schedule;
  };
}
