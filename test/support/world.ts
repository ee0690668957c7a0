// A world of ranks that meet in memory.
import { alone, type World } from "../../lib/ranks/world.js";

/** A world of one with these changes. */
export const worldOf = (parts: Partial<World>): World => Object.assign(Object.create(alone), parts);

/** The worlds of `size` ranks; what one gathers is there once all have given theirs. */
export function worldsOf(
  size: number,
  parts: (rank: number) => Partial<World> = () => ({}),
): World[] {
  const given: string[] = [];
  let complete = (_: string[]) => {};
  const all = new Promise<string[]>((resolve) => {
    complete = resolve;
  });
  return Array.from({ length: size }, (_, rank) =>
    worldOf({
      rank,
      worldSize: size,
      gather: async (_key, value) => {
        given[rank] = value;
        if (Object.keys(given).length === size) complete(given);
        return await all;
      },
      ...parts(rank),
    }),
  );
}
