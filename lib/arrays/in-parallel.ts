// Works on many files, some at a time.

const atOnce = 64;

/** Runs `work` for each item and returns the results in the items' order; none is begun after a failure. */
export async function inParallel<T, R>(
  items: readonly T[],
  work: (item: T, index: number) => Promise<R>,
): Promise<R[]> {
  const results: R[] = new Array(items.length);
  let next = 0;
  const run = async () => {
    for (let i = next++; i < items.length; i = next++) results[i] = await work(items[i]!, i);
  };
  try {
    await Promise.all(Array.from({ length: atOnce }, run));
  } finally {
    next = items.length;
  }
  return results;
}
