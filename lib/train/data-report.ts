// What an epoch tells about the data: damaged images by name, and why steps waited for input.

import type { Inspection } from "../data/inspection.js";
import type { Timing } from "../data/pictures.js";
import type { Team } from "./team.js";

/** Share of an epoch's time from which on waiting for input is worth a word. */
const noticeable = 0.05;

/** What one rank met since the last report. */
interface Observation {
  names: string[];
  /** Damaged images since the start. */
  damaged: number;
  /** Share of the time in which the device had nothing to do. */
  wait: number;
  timing: Timing;
}

const milliseconds = (seconds: number, pictures: number) =>
  `${((1000 * seconds) / Math.max(1, pictures)).toFixed(1)} ms`;

/** Why the steps of the rank that waited longest waited, and what helps. */
function explainWait(rank: number, { wait, timing }: Observation): string {
  const { pictures, readSeconds, decodeSeconds } = timing;
  const times =
    `reading an image takes ${milliseconds(readSeconds, pictures)} and decoding it ` +
    milliseconds(decodeSeconds, pictures);
  const advice =
    readSeconds > decodeSeconds
      ? "the disk or the network is slow: put the images on a local SSD, or where they fit into RAM"
      : "decoding is slow: give each worker more cores, or make the images smaller once and for all";
  return `steps waited ${Math.round(100 * wait)}% of the time for input (rank ${rank}): ${times}; ${advice}`;
}

/**
 * Gathers what the ranks met in their data, under a key of the step; every rank takes part. Resolves
 * with the lines to say.
 */
export async function reportData(
  inspection: Inspection,
  wait: number,
  step: number,
  team: Team,
): Promise<string[]> {
  const own: Observation = {
    names: inspection.takeNames(),
    damaged: inspection.count,
    wait,
    timing: inspection.timing,
  };
  const all = (await team.gather(`data-${step}`, JSON.stringify(own))).map(
    (text) => JSON.parse(text) as Observation,
  );
  const lines = all.flatMap(({ names }) => names.map((name) => `warning: ${name}`));
  // Ranks that met the same image count it each.
  const damaged = all.reduce((sum, one) => sum + one.damaged, 0);
  if (lines.length > 0 && damaged > lines.length) {
    lines.push(`warning: ${damaged} images were damaged so far, as the ranks count them`);
  }
  const waits = all.map((one) => one.wait);
  const longest = waits.indexOf(Math.max(...waits));
  if (waits[longest]! >= noticeable) lines.push(explainWait(longest, all[longest]!));
  return lines;
}
