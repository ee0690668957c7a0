// Words of messages: counts with their nouns, bytes, losses, and the text of others in one safe line.
import { inspect } from "node:util";

/** 2,000 */
export const count = (value: number) => value.toLocaleString("en-US");

/** "1 step", "2000 steps", "1 batch", "3 batches"; `text` in place of the number's digits. */
export function plural(value: number, noun: string, text = String(value)): string {
  return `${text} ${noun}${value === 1 ? "" : /(s|x|sh|tch)$/.test(noun) ? "es" : "s"}`;
}

/** "2,000 steps" */
export const counted = (value: number, noun: string) => plural(value, noun, count(value));

/** 25.3 GB, 512 MB: powers of 1000, as disks and memory are sold. */
export function bytesText(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  let value = bytes;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 || value >= 99.5 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** A loss: 2.3026, or 2.562e20 where digits would be in the way. */
export function lossText(loss: number): string {
  if (Math.abs(loss) < 1e5 || !Number.isFinite(loss)) return loss.toFixed(4);
  return loss.toExponential(3).replace("e+", "e");
}

/** Control characters, those that change the direction of text, and halves of characters. */
const unprintable = /[\p{Cc}\p{Cs}\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu;

/** A text that is safe to show: characters that cannot be seen are replaced by their codes. */
export function printable(text: string): string {
  return text.replace(unprintable, (character) => {
    const code = character.charCodeAt(0).toString(16);
    return code.length > 2 ? `\\u${code.padStart(4, "0")}` : `\\x${code.padStart(2, "0")}`;
  });
}

/** At most so many characters: the beginning, and of the rest the end. */
function shortened(text: string, most: number): string {
  if (text.length <= most) return text;
  const end = Math.floor(most / 4);
  const left = text.length - most;
  return `${text.slice(0, most - end)}… (${counted(left, "character")}) …${text.slice(-end)}`;
}

const mostOfValue = 200; // characters of a value that is named
const mostOfLine = 4000; // and of a message

/** A value from outside, of whatever type, as a message names it: short, on one line, never failing. */
export function shown(value: unknown): string {
  const text =
    typeof value === "string"
      ? `"${value.replaceAll("\n", "\\n")}"`
      : inspect(value, {
          depth: 1,
          maxArrayLength: 5,
          maxStringLength: 50,
          breakLength: Infinity,
          compact: true,
        });
  return printable(shortened(text, mostOfValue));
}

/** A message in one line that is safe to show: lines are joined, and repeated ones appear once. */
export function oneLine(message: string): string {
  const lines = message.split(/[\r\n]+/).map((line) => line.trim());
  const text = [...new Set(lines.filter((line) => line !== ""))].join("; ");
  return printable(shortened(text, mostOfLine));
}

/** The line that warns of something. */
export const warning = (text: string) => `warning: ${oneLine(text)}`;
