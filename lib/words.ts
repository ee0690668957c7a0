// Numbers and messages in words: counts with their nouns, losses, a library's error in one line.

/** 2,000 */
export const count = (value: number) => value.toLocaleString("en-US");

/** "1 step", "2000 steps", "1 batch", "3 batches"; `text` in place of the number's digits. */
export function plural(value: number, noun: string, text = String(value)): string {
  return `${text} ${noun}${value === 1 ? "" : /(s|x|sh|tch)$/.test(noun) ? "es" : "s"}`;
}

/** "2,000 steps" */
export const counted = (value: number, noun: string) => plural(value, noun, count(value));

/** A loss: 2.3026, or 2.562e20 where digits would be in the way. */
export function lossText(loss: number): string {
  if (Math.abs(loss) < 1e5 || !Number.isFinite(loss)) return loss.toFixed(4);
  return loss.toExponential(3).replace("e+", "e");
}

/** A message of several lines in one, for a place within a sentence. */
export function oneLine(message: string): string {
  const lines = message.split(/[\r\n]+/).map((line) => line.trim());
  return [...new Set(lines.filter((line) => line !== ""))].join("; ");
}

/** The line that warns of something. */
export const warning = (text: string) => `warning: ${oneLine(text)}`;
