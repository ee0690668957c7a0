// Node's hooks for modules that a user's own module imports: they run on a thread of their own.
import { readFile } from "node:fs/promises";
import type { LoadHook, ResolveHook } from "node:module";
import { fileURLToPath } from "node:url";
import { transpile } from "./transpile.js";
import { typescriptOf } from "./typescript-name.js";

const index = new URL("../index.js", import.meta.url).href;
const own = fileURLToPath(new URL("..", import.meta.url));

export const resolve: ResolveHook = async (specifier, context, next) => {
  if (specifier === "onehour") return { url: index, shortCircuit: true };
  try {
    return await next(specifier, context);
  } catch (error) {
    for (const name of otherNames(specifier)) {
      try {
        return await next(name, context);
      } catch {
        // The error of the name as it was written says more.
      }
    }
    throw error;
  }
};

/** The names that TypeScript lets a relative name mean. */
function otherNames(specifier: string): string[] {
  const written = typescriptOf(specifier);
  if (written !== undefined) return [written];
  if (!/^(\.{0,2}\/|file:)/.test(specifier)) return [];
  const endings = [".ts", ".mts", ".cts", ".js", "/index.ts", "/index.js"];
  return endings.map((ending) => specifier.replace(/\/$/, "") + ending);
}

export const load: LoadHook = async (url, context, next) => {
  if (!url.startsWith("file:")) return await next(url, context);
  const path = fileURLToPath(url);
  if (path.endsWith(".json") && context.importAttributes.type === undefined) {
    const source = `export default ${await readFile(path, "utf8")}`;
    return { format: "module", source, shortCircuit: true };
  }
  const isTypeScript = /\.[cm]?ts$/.test(path);
  // Packages' JavaScript, this one's too, is what Node takes.
  const isNode = path.startsWith(own) || path.includes("/node_modules/");
  if (!isTypeScript && (isNode || !/\.m?js$/.test(path))) return await next(url, context);
  const isModule = !isTypeScript && (await next(url, context)).format === "module";
  const source = await readFile(path, "utf8");
  const { code, format } = transpile(path, source, isModule ? "module" : undefined);
  // Without a source Node asks `require`, whose own hooks then serve all that the module requires.
  return { format, ...(format === "module" ? { source: code } : {}), shortCircuit: true };
};
