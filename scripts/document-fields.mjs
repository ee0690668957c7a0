// Writes what the table of a recipe's fields says of each into the compiled declarations, as the comments
// that an editor shows: tsc takes none from values. Run after each compilation.
import { readFileSync, writeFileSync } from "node:fs";
import { documentation } from "../dist/recipe/documentation.js";

const file = new URL("../dist/recipe/table.d.ts", import.meta.url);
const before = readFileSync(file, "utf8");
const after = before.replace(
  /^ {4}(\w+): Field</gm,
  (line, name) => `    /** ${documentation(name).replaceAll("*/", "*\\/")} */\n${line}`,
);
if (after !== before) writeFileSync(file, after);
