// Finds the known name that was probably meant, for "did you mean".

/** A name as people vary it: letters and digits alone, in lower case. */
export const plain = (name: string): string => name.toLowerCase().replace(/[^\p{L}\p{N}]/gu, "");

/** Edits of single letters, or swaps of two neighbours, from a to b (optimal string alignment). */
function distance(a: string, b: string): number {
  let before: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const isSwap = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      next[j] = Math.min(
        row[j]! + 1,
        next[j - 1]! + 1,
        row[j - 1]! + Number(a[i - 1] !== b[j - 1]),
        isSwap ? before[j - 2]! + 1 : Number.POSITIVE_INFINITY,
      );
    }
    before = row;
    row = next;
  }
  return row[b.length]!;
}

const mostCompared = 100; // characters; the work is their number squared
const leastStart = 3; // letters that begin a name and are enough to mean it

/** How far a name is from another; infinite where they have nothing in common. */
function unlikeness(name: string, known: string): number {
  if (name === known) return 0;
  const [short, long] = [name, known].sort((a, b) => a.length - b.length) as [string, string];
  const edits = distance(name, known);
  const isStart = short.length >= leastStart && long.startsWith(short);
  return isStart || edits <= Math.floor(name.length / 3) ? edits : Number.POSITIVE_INFINITY;
}

/** The name that was probably meant; undefined where none is close. */
export function closestTo(name: string, names: readonly string[]): string | undefined {
  const given = plain(name.slice(0, mostCompared));
  if (given === "") return undefined;
  const ranked = names
    .map((known) => ({ known, far: unlikeness(given, plain(known)) }))
    .filter(({ far }) => Number.isFinite(far))
    .sort((a, b) => a.far - b.far);
  return ranked[0]?.known;
}
