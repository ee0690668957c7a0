// A user's own module as a recipe keeps it: by path and digest, so that a run that is resumed computes
// what it began with. What the module itself imports is not covered.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { isAbsolute, relative, resolve } from "node:path";
import { UsageError } from "../errors.js";
import { loadDefault, moduleEnding } from "./load-default.js";

const pin = /#sha256:([0-9a-f]{64})$/;

/** `/home/me/net.ts#sha256:…`, taken apart; a path by itself has no digest yet. */
function parts(name: string): { path: string; digest: string | undefined } {
  const [, digest] = pin.exec(name) ?? [];
  return { path: resolve(name.replace(pin, "")), digest };
}

/** Whether a recipe's value names a module: it ends as one does, with its digest or without. */
export function isModule(name: string): boolean {
  return moduleEnding.test(name.replace(pin, ""));
}

/** The path of a module, as people know it. */
export function modulePath(name: string): string {
  return parts(name).path;
}

/**
 * The module's absolute path with the digest of its contents. Throws ERR_ONEHOUR_MODULE for one that
 * cannot be read, or that has another digest than the name says.
 */
export function pinned(name: string): string {
  const { path, digest } = parts(name);
  let contents: Buffer;
  try {
    contents = readFileSync(path);
  } catch (error) {
    throw new UsageError(
      "ERR_ONEHOUR_MODULE",
      `the module ${path} cannot be read (${(error as Error).message}); name a .ts or .js file`,
      { cause: error },
    );
  }
  const found = createHash("sha256").update(contents).digest("hex");
  if (digest !== undefined && digest !== found) {
    throw new UsageError(
      "ERR_ONEHOUR_MODULE",
      `${path} is not the module that the run began with: its contents have changed. Put them back, or ` +
        "begin another run",
    );
  }
  return `${path}#sha256:${found}`;
}

/** The default export of a module, once its contents are what the name says; see `loadDefault`. */
export async function loadPinned(name: string, expected: string): Promise<unknown> {
  return await loadDefault(modulePath(pinned(name)), expected);
}

/** Whether a module lies in a folder: one in a run folder came with the run, from whoever made it. */
export function liesIn(folder: string, name: string): boolean {
  const way = relative(resolve(folder), modulePath(name));
  return !way.startsWith("..") && !isAbsolute(way);
}
