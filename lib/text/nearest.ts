// The known name nearest to one that is not known, for "did you mean".

/** Number of single-letter edits from a to b. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(
        row[j]! + 1,
        next[j - 1]! + 1,
        row[j - 1]! + Number(a[i - 1] !== b[j - 1]),
      );
    }
    row = next;
  }
  return row[b.length]!;
}

const mostCompared = 100; // characters; the work is their number squared

/** The name fewest edits away from `name`; `names` are not empty. */
export function nearestOf(name: string, names: readonly string[]): string {
  const start = name.slice(0, mostCompared);
  return [...names].sort((a, b) => distance(start, a) - distance(start, b))[0]!;
}
