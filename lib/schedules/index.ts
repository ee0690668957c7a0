// The schedules, by the names that a recipe gives them.
import { readOnly } from "../modules/read-only.js";
import { cosine } from "./cosine.js";
import { linear } from "./linear.js";
import { polynomial } from "./polynomial.js";
import type { ScheduleBuilder } from "./schedule.js";
import { stepSchedule } from "./step.js";

export const schedules = readOnly(
  { step: stepSchedule, cosine, linear, polynomial } satisfies Record<string, ScheduleBuilder>,
  "make your schedule the default export of a module, and name that as lrSchedule",
);

type ScheduleName = keyof typeof schedules;

export function isSchedule(name: string): name is ScheduleName {
  return Object.hasOwn(schedules, name);
}
