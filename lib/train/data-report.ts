// Reports at an epoch's end on the data: damaged images by name, and why steps waited for input.

import type { Timing } from "../data/images/image-decoder.js";
import type { FlawedImage, Inspection } from "../data/images/inspection.js";
import type { World } from "../ranks/world.js";
import { warning } from "../text/words.js";

/** Share of an epoch's time from which on waiting for input is worth a word. */
const noticeable = 0.05;
const mostNamed = 10; // images

/** What one rank met since the last report. */
interface Observation {
  flawed: FlawedImage[];
  /** Share of the time in which the device had nothing to do. */
  wait: number;
  timing: Timing;
}

const milliseconds = (seconds: number, images: number) =>
  `${((1000 * seconds) / Math.max(1, images)).toFixed(1)} ms`;

/** Why the steps of the rank that waited longest waited, and what helps. */
function explainWait(rank: number, { wait, timing }: Observation): string {
  const { images, readSeconds, decodeSeconds } = timing;
  const times =
    `reading an image takes ${milliseconds(readSeconds, images)} and decoding it ` +
    milliseconds(decodeSeconds, images);
  const advice =
    readSeconds > decodeSeconds
      ? "the disk or the network is slow: put the images on a local SSD, or where they fit into RAM"
      : "decoding is slow: give each worker more cores, or make the images smaller once and for all";
  return `steps waited ${Math.round(100 * wait)}% of the time for input (rank ${rank}): ${times}; ${advice}`;
}

/** Reports at each epoch's end what the ranks met in their data; the same on all ranks. */
export class DataReport {
  private readonly damaged = new Set<string>(); // paths, of all ranks
  private slow = false;

  constructor(
    private readonly inspection: Inspection,
    private readonly world: World,
  ) {}

  /**
   * Gathers what the ranks met; every one takes part. `wait` is the share of the time that this
   * rank's device waited for input. Resolves with the largest share, and the lines to say.
   */
  async gather(wait: number): Promise<{ wait: number; lines: string[] }> {
    const { inspection, world, damaged } = this;
    const own: Observation = { flawed: inspection.takeNew(), wait, timing: inspection.timing };
    const all = (await world.gather("data", JSON.stringify(own))).map(
      (text) => JSON.parse(text) as Observation,
    );
    const lines: string[] = [];
    const before = damaged.size;
    for (const { path, text } of all.flatMap(({ flawed }) => flawed)) {
      if (damaged.has(path)) continue;
      damaged.add(path);
      if (damaged.size <= mostNamed) lines.push(warning(text));
    }
    if (damaged.size > before && damaged.size > mostNamed) {
      lines.push(
        `warning: ${damaged.size} images were damaged so far; the first ${mostNamed} were named`,
      );
    }
    const waits = all.map((one) => one.wait);
    const longest = waits.indexOf(Math.max(...waits));
    const isSlow = waits[longest]! >= noticeable;
    if (isSlow && !this.slow) lines.push(explainWait(longest, all[longest]!));
    this.slow = isSlow;
    return { wait: waits[longest]!, lines };
  }
}
