// Begins work ahead of its use, and hands it out in order.

/**
 * What the promises of `begin` resolve with, in order; `ahead` of them are begun before the first is
 * awaited, until `begin` returns undefined.
 */
export async function* inAdvance<T>(
  ahead: number,
  begin: () => Promise<T> | undefined,
): AsyncGenerator<T, void> {
  const begun: Promise<T>[] = [];
  for (;;) {
    while (begun.length < ahead) {
      const next = begin();
      if (!next) break;
      next.catch(() => {}); // it is thrown in its turn
      begun.push(next);
    }
    const first = begun.shift();
    if (!first) return;
    yield await first;
  }
}
