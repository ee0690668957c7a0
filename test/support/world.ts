// A world of ranks that meet in memory.
import { alone, type World } from "../../lib/ranks/world.js";

/** A world of one with these changes. */
export const worldOf = (parts: Partial<World>): World => Object.assign(Object.create(alone), parts);
