// A result of `onehour bench throughput` made by hand, for the tests of what is made of it.
import type { ThroughputResult, ThroughputRow } from "../../lib/bench/throughput.js";
import { environment } from "../../lib/system/environment.js";

/** A number of workers whose rounds gave these images per second, at 4 images a worker. */
export function row(workers: number, rounds: number[], one?: number): ThroughputRow {
  const imagesPerSecond = [...rounds].sort((a, b) => a - b)[Math.floor(rounds.length / 2)]!;
  const stepSeconds = (4 * workers) / imagesPerSecond;
  return {
    ...{ name: "onehour", workers, imagesPerSecond, rounds },
    ...{ plannedBytes: 5e6, peakBytes: 6e6 },
    scaling: {
      batch: 4,
      stepSeconds,
      split: {
        compute: 0.7 * stepSeconds,
        exposedCommunication: 0.2 * stepSeconds,
        inputWait: 0,
        update: 0.1 * stepSeconds,
      },
      ...(one === undefined ? {} : { efficiency: imagesPerSecond / workers / one }),
      peakShare: 0.4,
      buckets: [
        { bytes: 4000, ready: 0.3 * stepSeconds },
        { bytes: 8000, ready: 0.7 * stepSeconds },
      ],
      rounds: {
        step: rounds.map((rate) => (4 * workers) / rate),
        withoutCollectives: rounds.map((rate) => (0.8 * 4 * workers) / rate),
        inputWait: rounds.map(() => 0),
      },
    },
  };
}

/** One and two workers, and PyTorch. */
export const made: ThroughputResult = {
  benchmark: "throughput",
  settings: {
    model: "resnet8",
    images: { height: 28, width: 28, channels: 1 },
    classes: 10,
    batch: 4,
    precision: "fp32",
    device: "cpu",
    threads: 1,
    strong: false,
  },
  device: "a processor",
  steps: 2,
  peak: 5e10,
  results: [
    row(1, [98, 100, 103], 100),
    row(2, [140, 150, 160], 100),
    { name: "PyTorch 2", workers: 1, imagesPerSecond: 80, rounds: [79, 80, 81], peakBytes: 9e6 },
  ],
  ratio: 1.25,
  environment: environment(),
};
