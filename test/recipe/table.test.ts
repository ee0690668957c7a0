// Checks the table of recipe fields: each row is complete, and everything derived from it agrees.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { describe, expect, test } from "vitest";
import { defaultText, documentation } from "../../lib/recipe/documentation.js";
import { groups } from "../../lib/recipe/field.js";
import { readFields, withDefaults } from "../../lib/recipe/fields.js";
import { meaning, wordsOf } from "../../lib/recipe/meant.js";
import { defaultOf, rows } from "../../lib/recipe/table.js";
import { flagName, nameOf } from "../../lib/recipe/voice.js";

const root = fileURLToPath(new URL("../../", import.meta.url));
const names = rows.map(([name]) => name);

test.each(rows)("%s is a complete row", (name, row) => {
  expect(groups).toContain(row.group);
  expect(row.help).toMatch(/^\S.*[^.]$/);
  expect(row.flag === "[dataset]" || /^--[a-z0-9-]+( [<[]\S+[>\]])?$/.test(row.flag)).toBe(true);
  const value = defaultOf(row);
  if (value !== undefined) expect(readFields({ [name]: value })).toEqual({ [name]: value });
  expect(withDefaults({})[name]).toEqual(value);
});

test("no word means two fields", () => {
  const words = rows.flatMap((row) => [...wordsOf(row)]);
  expect(words.filter((word, i) => words.indexOf(word) !== i)).toEqual([]);
});

/** The page's table of all fields, in Markdown. */
function fieldsTable(): string {
  const cell = (text: string) => text.replaceAll("|", "\\|");
  const parts = groups.map((group) => {
    const lines = rows
      .filter(([, row]) => row.group === group)
      .map(([name, row]) => {
        const { flag, help, onResume } = row;
        const value = defaultText(row) ?? "";
        const changes = onResume === true ? "yes" : (onResume ?? "");
        return `| \`${name}\` | \`${cell(flag)}\` | ${cell(help)} | ${cell(value)} | ${changes} |`;
      });
    const head = "| field | flag | | default | changes on resume |\n|---|---|---|---|---|";
    return `**${group}**\n\n${head}\n${lines.join("\n")}\n`;
  });
  return parts.join("\n");
}

test("the page of fields matches the table; `scripts/test test/recipe -u` writes it", async () => {
  const page = `# The fields of a recipe

A recipe says all that decides a run. The flags of \`onehour train\`, the object that a script passes to \`train\`, a file
for \`--recipe\` and \`recipe.json\` in a run folder have the same fields, those of this page. \`onehour train --help\`
lists them too, and an editor shows the text of a field.

Each flag that begins with \`--no-\` has an opposite, to override a recipe: \`--nesterov\`. A resumed run may change
the fields with a yes in the last column, and those with "together" as long as workers × accumulate stays. A change of
any other field would make it another run.

${fieldsTable()}`;
  await expect(page).toMatchFileSnapshot("../../docs/recipe.md");
});

describe("in the package's declarations", () => {
  const file = `${root}hover.ts`;
  const source = `import type { Recipe, RecipeInput } from "onehour";
declare const given: RecipeInput;
declare const resolved: Recipe;
${names.map((name) => `given.${name};`).join("\n")}
resolved.lr;
export const wrong: RecipeInput = { learningRate: 1 };
export const text: RecipeInput = { lr: "1" };
`;
  const read = (path: string) => (path === file ? source : ts.sys.readFile(path));
  const service = ts.createLanguageService({
    getScriptFileNames: () => [file],
    getScriptVersion: () => "1",
    getScriptSnapshot: (path) => {
      const text = read(path);
      return text === undefined ? undefined : ts.ScriptSnapshot.fromString(text);
    },
    getCurrentDirectory: () => root,
    getCompilationSettings: () => ({
      module: ts.ModuleKind.NodeNext,
      strict: true,
      skipLibCheck: true,
      types: [],
    }),
    getDefaultLibFileName: (options) => ts.getDefaultLibFilePath(options),
    fileExists: (path) => path === file || ts.sys.fileExists(path),
    readFile: read,
    directoryExists: ts.sys.directoryExists,
    getDirectories: ts.sys.getDirectories,
  });
  const hover = (text: string) => {
    const info = service.getQuickInfoAtPosition(file, source.indexOf(text) + text.indexOf(".") + 1);
    return ts.displayPartsToString(info?.documentation);
  };

  test.each(names)("an editor shows what %s is", (name) => {
    expect(hover(`given.${name};`)).toBe(documentation(name));
  });

  test("of a resolved recipe too, and wrong fields are errors", () => {
    expect(hover("resolved.lr")).toBe(documentation("lr"));
    const problems = service
      .getSemanticDiagnostics(file)
      .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, "\n"));
    expect(problems).toHaveLength(2);
    expect(problems[0]).toMatch("learningRate");
  });
});

const flags = [...rows.map(([name]) => flagName(name)), "--recipe", "--resume"];
test.each([
  ["learningRate", "lr"],
  ["learning_rate", "lr"],
  ["base-lr", "lr"],
  ["batchSize", "batch"],
  ["batch_size", "batch"],
  ["wd", "weightDecay"],
  ["weight_decay", "weightDecay"],
  ["arch", "model"],
  ["nproc_per_node", "workers"],
  ["gpus", "workers"],
  ["smoothing", "labelSmoothing"],
  ["gradAccumSteps", "accumulate"],
  ["globalBatchSize", "minibatch"],
  ["syncBatchnorm", "syncBatchNorm"],
  ["max_epochs", "epochs"],
  ["amp", "precision"],
  ["pretrained", "init"],
  ["outputDir", "out"],
  ["epoch", "epochs"],
  ["nestrov", "nesterov"],
  ["wokers", "workers"],
] as const)("%s means %s, as a field and as a flag", (word, field) => {
  expect(meaning(word, names, "fields")).toBe(`did you mean ${field}?`);
  expect(meaning(`--${word}`, flags, "flags")).toBe(`did you mean ${nameOf(field, "flags")}?`);
});

test.each([
  ["nnodes", /--nodes, --node-rank and --rendezvous/],
  ["master-addr", /--rendezvous host:port/],
  ["num-workers", /decoded by threads.*--workers is the number of processes that train/],
  ["config", /--recipe/],
  ["resume-from", /--resume/],
  ["num-classes", /the data set's/],
])("--%s is answered", (word, answer) => {
  expect(meaning(`--${word}`, [...flags, "--nodes"], "flags")).toMatch(answer);
});

test.each(["xyzzy", "--", "-", "", "constructor", "__proto__", "頑張", "x".repeat(1e6)])(
  "nothing is guessed for %.20s",
  (word) => expect(meaning(word, names, "fields")).toBeUndefined(),
);

test("no other list of fields or flags is kept in lib", () => {
  const cli = readFileSync(`${root}lib/cli/train.ts`, "utf8");
  for (const [name] of rows.filter(([name]) => name !== "dataset" && name !== "out"))
    expect(cli).not.toContain(`"${flagName(name)} `);
});
