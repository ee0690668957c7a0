// The schedule of a recipe: a name of the table or a module of the user's, and what goes with it.
import { isModule } from "../modules/pinned.js";
import { isSchedule, schedules } from "../schedules/index.js";
import { closestTo } from "../text/nearest.js";
import { shown } from "../text/words.js";
import { type PartialRecipe, type RecipeInput, refuse } from "./fields.js";
import { setting } from "./voice.js";

/** Refuses a schedule that there is not, and milestones with one that has none. */
export function requireSchedule({ lrSchedule, milestones = [] }: PartialRecipe): void {
  if (!isSchedule(lrSchedule) && !isModule(lrSchedule)) {
    const names = Object.keys(schedules);
    const meant = closestTo(lrSchedule, names);
    throw refuse(
      "lrSchedule",
      `there is no schedule ${shown(lrSchedule)}${meant === undefined ? "." : `; did you mean "${meant}"?`} ` +
        `Schedules: ${names.join(", ")}, or a module such as ./schedule.ts`,
    );
  }
  if (lrSchedule === "step" || milestones.length === 0) return;
  throw refuse(
    "milestones",
    `they belong to the schedule step, and the rate follows ${shown(lrSchedule)}; leave them out, or take ` +
      setting("lrSchedule", "step"),
  );
}

/** Whether the milestones are empty only because the schedule takes none. */
export function hasNoMilestones({ lrSchedule = "step", milestones }: RecipeInput): boolean {
  return lrSchedule !== "step" && milestones?.length === 0;
}
