// Half a cosine from the peak down to 0.
import { afterWarmup } from "./schedule.js";

/** Source: Loshchilov and Hutter, "SGDR", 2017, without restarts. */
export const cosine = afterWarmup(({ peak, done }) => (peak * (1 + Math.cos(Math.PI * done))) / 2);
