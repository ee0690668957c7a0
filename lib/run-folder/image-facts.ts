// What a checkpoint tells of its network's images, for whoever uses the weights elsewhere: among its metadata.

import { shown } from "../text/words.js";
import { refuseFile } from "./refuse-file.js";

/** How images become the network's input, x = (pixel / 255 − mean) / std per channel, and what it tells apart. */
export interface ImageFacts {
  /** Pixels of an image in evaluation. */
  height: number;
  width: number;
  channels: number;
  mean: readonly number[];
  std: readonly number[];
  /** How many there are. */
  classes: number;
}

/** Each fact as text in JSON. */
export function formatImageFacts(facts: ImageFacts): Record<string, string> {
  const { height, width, channels, mean, std, classes } = facts;
  const all = { height, width, channels, mean, std, classes };
  return Object.fromEntries(
    Object.entries(all).map(([key, value]) => [key, JSON.stringify(value)]),
  );
}

/** Undefined for what is not JSON. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const isCount = (value: unknown) => Number.isSafeInteger(value) && (value as number) > 0;

const isPerChannel = (value: unknown, channels: unknown, holds: (x: number) => boolean) =>
  Array.isArray(value) &&
  value.length === channels &&
  value.every((x) => Number.isFinite(x) && holds(x));

/**
 * What `formatImageFacts` wrote; undefined where there is none of it, as in files of earlier versions.
 * ERR_ONEHOUR_CHECKPOINT for anything else.
 */
export function parseImageFacts(
  file: string,
  metadata: Readonly<Record<string, string>>,
): ImageFacts | undefined {
  const read = (key: keyof ImageFacts) =>
    Object.hasOwn(metadata, key) ? parseJson(metadata[key]!) : undefined;
  const channels = read("channels");
  // A damaged file may nest arrays in it deeper than a text of them can be made.
  const each = isCount(channels) ? `for each of ${channels} channels` : "for each channel";
  const wanted: Record<keyof ImageFacts, [holds: (value: unknown) => boolean, words: string]> = {
    height: [isCount, "a number of pixels"],
    width: [isCount, "a number of pixels"],
    channels: [isCount, "a whole number above 0"],
    mean: [(value) => isPerChannel(value, channels, () => true), `a number ${each}`],
    std: [(value) => isPerChannel(value, channels, (x) => x > 0), `a number above 0 ${each}`],
    classes: [isCount, "a whole number above 0"],
  };
  const keys = Object.keys(wanted) as (keyof ImageFacts)[];
  if (!keys.some((key) => Object.hasOwn(metadata, key))) return undefined;
  const values = keys.map((key) => {
    const [holds, words] = wanted[key];
    const value = read(key);
    if (holds(value)) return [key, value] as const;
    const found = Object.hasOwn(metadata, key) ? `is ${shown(metadata[key])}` : "is missing";
    throw refuseFile(file, `its ${key} ${found}`, `expected ${words}`);
  });
  return Object.fromEntries(values) as unknown as ImageFacts;
}
