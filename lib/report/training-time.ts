// When each line of a log was reached, in seconds of training: its lines have no time of day.

import type { LogLine } from "../run-folder/log-lines.js";

/**
 * Seconds of training at each line, without the pauses between processes. An epoch ends when its line
 * says so. A step within it takes its images divided by the rate that its line has, which is one of the
 * last few steps; steps that add up to more than their epoch are shortened alike.
 */
export function trainingSeconds(lines: readonly LogLine[], minibatch: number): number[] {
  const times: number[] = [];
  let epochBegin = 0;
  let now = 0;
  let firstOfEpoch = 0;
  for (const [i, line] of lines.entries()) {
    if (line.type === "step") {
      const seconds = minibatch / (line.imagesPerSecond ?? Number.POSITIVE_INFINITY);
      now += Number.isFinite(seconds) ? seconds : 0;
    } else if (line.type === "epoch") {
      const end = epochBegin + (line.seconds ?? 0);
      if (now > end) {
        const scale = (end - epochBegin) / (now - epochBegin);
        for (let j = firstOfEpoch; j < i; j++)
          times[j] = epochBegin + (times[j]! - epochBegin) * scale;
      }
      now = end;
      epochBegin = end;
      firstOfEpoch = i + 1;
    }
    times.push(now);
  }
  return times;
}
