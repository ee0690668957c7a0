// A parabola from the peak down to 0: what LARS was published with.
import { afterWarmup } from "./schedule.js";

/** Source: You et al. 2017, section 5; power 2. */
export const polynomial = afterWarmup(({ peak, done }) => peak * (1 - done) ** 2);
