// Reads the pages, and type-checks the code in them.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

export const root = fileURLToPath(new URL("../../", import.meta.url));

export const read = (file: string) => readFileSync(join(root, file), "utf8");

/** What a page links to in the repository, outside its code: paths as they stand, with their anchors. */
export const linksOf = (page: string) =>
  [...page.replace(/^```[\s\S]*?^```/gm, "").matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, target]) => target!)
    .filter((target) => !/^[a-z]+:/.test(target));

/**
 * Type errors of modules given as text, which add to or replace files of the repository, by path.
 */
export function typeErrors(modules: ReadonlyMap<string, string>): string[] {
  const texts = new Map([...modules].map(([file, text]) => [join(root, file), text]));
  const config = ts.readConfigFile(join(root, "tsconfig.test.json"), ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent(config.config, ts.sys, root);
  const host = ts.createCompilerHost(options);
  const { readFile, fileExists } = host;
  host.readFile = (file) => texts.get(file) ?? readFile(file);
  host.fileExists = (file) => texts.has(file) || fileExists(file);
  const program = ts.createProgram([...texts.keys()], options, host);
  return [...texts.keys()].flatMap((file) => {
    const source = program.getSourceFile(file)!;
    return [
      ...program.getSyntacticDiagnostics(source),
      ...program.getSemanticDiagnostics(source),
    ].map(
      ({ start = 0, messageText }) =>
        `${file.slice(root.length)}:${source.getLineAndCharacterOfPosition(start).line + 1}: ` +
        ts.flattenDiagnosticMessageText(messageText, "\n"),
    );
  });
}
