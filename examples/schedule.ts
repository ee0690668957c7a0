// A learning-rate schedule of your own: the default export gives the rate of each step.
//   npx onehour train fashion-mnist --lr-schedule examples/schedule.ts
import type { StepInfo } from "onehour";

/** Falls by 6 % every two epochs. */
export default ({ peak, epoch }: StepInfo): number => peak * 0.94 ** Math.floor(epoch / 2);
