// Loads a user's own module, TypeScript or JavaScript, as Node loads any other: once. The module's
// `onehour` is the package that loads it, wherever the module lies.
import { readFileSync } from "node:fs";
import Module, { createRequire, register } from "node:module";
import { fileURLToPath, pathToFileURL } from "node:url";
import { transpile } from "./transpile.js";
import { typescriptOf } from "./typescript-name.js";

/** What Node keeps for `require`, beyond what its types name. */
const internals = Module as unknown as {
  _extensions: Record<
    string,
    (module: { _compile(code: string, file: string): void }, file: string) => void
  >;
  _resolveFilename(request: string, ...rest: unknown[]): string;
};

let isReady = false;

/**
 * Imports the module of a file. Throws what the module throws, with its own stack, and SyntaxError
 * where TypeScript cannot be read.
 */
export async function loadModule(path: string): Promise<Record<string, unknown>> {
  if (!isReady) await prepare();
  isReady = true;
  return await import(pathToFileURL(path).href);
}

async function prepare(): Promise<void> {
  process.setSourceMapsEnabled(true); // stacks name the lines that were written
  const index = new URL("../index.js", import.meta.url);
  register("./load-hooks.js", import.meta.url);

  // The same for `require`, which knows no hooks in Node 20.
  const require = createRequire(import.meta.url);
  const own = new Module(fileURLToPath(index));
  own.exports = await import(index.href);
  own.loaded = true;
  require.cache[own.id] = own;
  for (const extension of [".ts", ".cts", ".mts"])
    internals._extensions[extension] = (module, file) =>
      module._compile(transpile(file, readFileSync(file, "utf8")).code, file);
  const resolve = internals._resolveFilename;
  internals._resolveFilename = (request, ...rest) => {
    if (request === "onehour") return own.id;
    try {
      return resolve.call(Module, request, ...rest);
    } catch (error) {
      const written = typescriptOf(request);
      if (written === undefined) throw error;
      try {
        return resolve.call(Module, written, ...rest);
      } catch {
        throw error; // that of the name as it was written says more
      }
    }
  };
}
