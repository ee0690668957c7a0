// A straight line from the peak down to 0.
import { afterWarmup } from "./schedule.js";

/** Source: Goyal et al. keep the peak between drops; this falls all the way. */
export const linear = afterWarmup(({ peak, done }) => peak * (1 - done));
