// A user's own module as a recipe keeps it: by path and digest, so that a run that is resumed computes
// what it began with. What the module itself imports is not covered.
import { createHash } from "node:crypto";
import { realpathSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { UsageError } from "../errors.js";
import { exists } from "../system/exists.js";
import { readSmall } from "../system/regular-file.js";
import { shown } from "../text/words.js";
import { loadDefault } from "./load-default.js";

/**
 * A file that Node, with this package's hooks, loads; the argument of a data set, and the digest. What begins
 * with a word and a colon is a kind of data set: `fashion-mnist:FOLDER`.
 */
const named = /^(?![\w-]+:)([^\0]*?[^\0/]\.[cm]?[jt]s)(?::([^\0]*?))?(?:#sha256:([0-9a-f]{64}))?$/;

interface Parts {
  path: string;
  /** What follows the path and a colon. */
  rest: string | undefined;
  /** Absent before a run has begun with it. */
  digest: string | undefined;
}

/** `/home/me/data.ts:16x16#sha256:…`, taken apart; undefined for what names no module. */
function partsOf(name: string): Parts | undefined {
  const [, path, rest, digest] = named.exec(name) ?? [];
  return path === undefined ? undefined : { path: resolve(path), rest, digest };
}

function moduleParts(name: string): Parts {
  return partsOf(name) ?? { path: resolve(name), rest: undefined, digest: undefined };
}

/** Whether a recipe's value names a module: it ends as one does, with its digest or without. */
export function isModule(name: string): boolean {
  return partsOf(name) !== undefined;
}

/** The path of a module, as people know it. */
export function modulePath(name: string): string {
  return moduleParts(name).path;
}

/** What follows a module's path and a colon, as for `./data.ts:16x16`; undefined where nothing does. */
export function moduleRest(name: string): string | undefined {
  return moduleParts(name).rest;
}

/** A value of a recipe in short, for titles: `net` for `/home/me/net.ts#sha256:…`, any other as it is. */
export function titleOf(name: string): string {
  return isModule(name) ? basename(modulePath(name)).replace(/\.[cm]?[jt]s$/, "") : name;
}

/** A value of a recipe without its digest. */
export function shortName(name: string): string {
  return name.replace(/#sha256:[0-9a-f]{64}$/, "");
}

const refuse = (problem: string, cause?: unknown) =>
  new UsageError("ERR_ONEHOUR_MODULE", problem, { cause });

/**
 * The module's absolute path with the digest of its contents. Throws ERR_ONEHOUR_MODULE for one that
 * cannot be read, or that has another digest than the name says.
 */
export function pinned(name: string): string {
  const { path, rest, digest } = moduleParts(name);
  let contents: Buffer;
  try {
    contents = readSmall(path);
  } catch (error) {
    const reason = (error as Error).message;
    throw refuse(`the module ${path} cannot be read (${reason}); name a .ts or .js file`, error);
  }
  const found = createHash("sha256").update(contents).digest("hex");
  if (digest !== undefined && digest !== found) {
    throw refuse(
      `${path} is not the module that the run began with: its contents have changed. Put them back, ` +
        "or name the module, to take it as it is now",
    );
  }
  return `${path}${rest === undefined ? "" : `:${rest}`}#sha256:${found}`;
}

/** As `pinned`, for a module that takes no argument. Throws ERR_ONEHOUR_MODULE for `./net.ts:16` too. */
export function pinnedAlone(name: string): string {
  const { path, rest } = moduleParts(name);
  if (rest === undefined) return pinned(name);
  throw refuse(
    `the module ${path} takes no argument, as a data set's does; leave out ${shown(`:${rest}`)}`,
  );
}

/** Digests with which modules were loaded: Node keeps what it loaded, whatever becomes of the file. */
const loaded = new Map<string, string>();

/** The default export of a module, once its contents are what the name says; see `loadDefault`. */
export async function loadPinned(name: string, expected: string): Promise<unknown> {
  const { path, digest } = moduleParts(pinned(name));
  if ((loaded.get(path) ?? digest) !== digest) {
    throw refuse(`${path} has changed since this process loaded it; start another process`);
  }
  loaded.set(path, digest!);
  return await loadDefault(path, expected);
}

/** Files that a run leaves. */
const ofRuns = [
  "log.jsonl",
  "checkpoint.safetensors",
  "checkpoint.previous.safetensors",
  "best.safetensors",
];

/** Whether a folder is a run's; a recipe.json without a digest is a user's own. */
function isRunFolder(folder: string): boolean {
  if (ofRuns.some((name) => exists(join(folder, name)))) return true;
  const recipe = join(folder, "recipe.json");
  return exists(recipe) && /"digest"/.test(readSmall(recipe).toString());
}

/** A path, and where it leads when links are followed. */
const withTarget = (path: string) => [path, ...(exists(path) ? [realpathSync(path)] : [])];

/**
 * The folder with which a module may have come from the author of `file`, which names it: the file's own or a
 * run's, with the module in it or below it; undefined where there is none. A file that is a module
 * itself, a recipe in TypeScript, may name what lies with it, for it could as well import that.
 */
export function foreignFolderOf(name: string, file: string): string | undefined {
  const own = isModule(file) ? [] : withTarget(resolve(file)).map((path) => dirname(path));
  for (const path of withTarget(modulePath(name))) {
    for (let folder = dirname(path); ; folder = dirname(folder)) {
      if (own.includes(folder) || isRunFolder(folder)) return folder;
      if (folder === dirname(folder)) break;
    }
  }
  return undefined;
}
