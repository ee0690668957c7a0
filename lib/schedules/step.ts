// The rate divided by ten at each milestone.
import { type ScheduleBuilder, stepsOf, warmedUp } from "./schedule.js";

/** Linear scaling, warm-up per step, and a division by ten at each milestone (paper, section 5.1). */
export const stepSchedule: ScheduleBuilder = (options) => {
  const { stepsPerEpoch, milestones } = options;
  const rate = warmedUp(options);
  const drops = milestones.map((epoch) => stepsOf(epoch, stepsPerEpoch));
  return (step) => rate(step) / 10 ** drops.filter((drop) => step >= drop).length;
};
