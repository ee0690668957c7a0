// Loads the default export of a user's own module: a recipe, a model, a data set or a schedule.
import { resolve } from "node:path";
import { UsageError } from "../errors.js";
import { requireRegular } from "../system/regular-file.js";

const refuse = (problem: string, cause?: unknown) =>
  new UsageError("ERR_ONEHOUR_MODULE", problem, { cause });

/** The files of modules that this process has begun to load. */
export const begun = new Set<string>();

/** What a module throws, as one line. */
const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error));

/**
 * The default export of the module at `path`, which runs it, once a process. `expected` says what that is
 * to be. Throws ERR_ONEHOUR_MODULE that names the path for one that cannot be read, that throws, or that
 * has no default export.
 */
export async function loadDefault(path: string, expected: string): Promise<unknown> {
  const file = resolve(path);
  const advice = `expected a module whose default export is ${expected}`;
  let loaded: Record<string, unknown>;
  try {
    await requireRegular(file);
    begun.add(file);
    const { loadModule } = await import("./load-module.js");
    loaded = await loadModule(file);
  } catch (error) {
    throw refuse(`${file} could not be loaded: ${messageOf(error)}; ${advice}`, error);
  }
  const inner = loaded.default as { __esModule?: true; default?: unknown } | undefined | null;
  // What TypeScript compiles to CommonJS holds its default export in an object of exports.
  const value = inner?.__esModule ? inner.default : loaded.default;
  if (value !== undefined) return value;
  const names = Object.keys(inner?.__esModule ? inner : loaded).filter(
    (name) => name !== "default",
  );
  throw refuse(
    `${file} has no default export${names.length > 0 ? `, only ${names.join(", ")}` : ""}; ${advice}`,
  );
}
