// TypeScript, and newer JavaScript, to the JavaScript that every supported Node runs.
import { compileFunction } from "node:vm";
import { type TransformFailure, transformSync } from "esbuild";

type Format = "module" | "commonjs";

/** JavaScript, and how Node is to load it. */
interface Transpiled {
  code: string;
  format: Format;
}

/**
 * Compiles one file, keeping its imports as they are but for those of types. By default its syntax
 * decides the format, for npm's package.json calls all of its modules CommonJS. Throws SyntaxError
 * that names the place.
 */
export function transpile(path: string, source: string, known?: Format): Transpiled {
  const loader = /\.[cm]?ts$/.test(path) ? "ts" : "js";
  const options = {
    loader,
    sourcefile: path,
    sourcemap: "inline",
    sourcesContent: false,
    target: "node20.19",
    logLevel: "silent",
  } as const;
  try {
    const { code } = transformSync(source, options);
    if ((known ?? formatOf(code)) === "commonjs") return { code, format: "commonjs" };
    // TypeScript that is compiled to CommonJS elsewhere has these.
    const define = { __filename: "import.meta.filename", __dirname: "import.meta.dirname" };
    return { code: transformSync(source, { ...options, define }).code, format: "module" };
  } catch (error) {
    const [first] = (error as TransformFailure).errors ?? [];
    if (first === undefined) throw error;
    const { line, column } = first.location ?? { line: 1, column: 0 };
    throw new SyntaxError(`${path}:${line}:${column + 1}: ${first.text}`);
  }
}

/** CommonJS is what the body of a function may be: without import, export and await outside others. */
function formatOf(code: string): Format {
  try {
    compileFunction(code, ["exports", "require", "module", "__filename", "__dirname"]);
    return "commonjs";
  } catch {
    return "module";
  }
}
