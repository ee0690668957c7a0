// Writes the description of each recipe field from the table into the compiled declarations, as doc
// comments for editors: tsc takes none from values. Run it after each compilation.
import { readFileSync, writeFileSync } from "node:fs";
import { documentation } from "../dist/recipe/documentation.js";

const file = new URL("../dist/recipe/table.d.ts", import.meta.url);
const before = readFileSync(file, "utf8");
const after = before.replace(
  /^ {4}(\w+): Field</gm,
  (line, name) => `    /** ${documentation(name).replaceAll("*/", "*\\/")} */\n${line}`,
);
if (after !== before) writeFileSync(file, after);
