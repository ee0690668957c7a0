// The schedules, by the names that a recipe gives them.
import { cosine } from "./cosine.js";
import { linear } from "./linear.js";
import { polynomial } from "./polynomial.js";
import type { ScheduleBuilder } from "./schedule.js";
import { stepSchedule } from "./step.js";

export const schedules = {
  step: stepSchedule,
  cosine,
  linear,
  polynomial,
} satisfies Record<string, ScheduleBuilder>;

type ScheduleName = keyof typeof schedules;

export function isSchedule(name: string): name is ScheduleName {
  return Object.hasOwn(schedules, name);
}
