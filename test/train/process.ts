// Runs train() in a process of its own, for tests that signal or kill it.
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { RecipeInput } from "../../lib/recipe/fields.js";
import { type Run, start, until } from "../support/process.js";

/**
 * Starts `train(recipe)`, which writes each step's number as a line, then its result as JSON. The
 * program is a file next to the run's folder. It imports the compiled package where the tests do:
 * from its sources two workers take seconds to start.
 */
export function startTraining(recipe: RecipeInput & { out: string }): Run {
  const compiled = process.env.ONEHOUR_TEST_COMPILED === "1";
  const module = compiled ? "../../dist/train/train.js" : "../../lib/train/train.ts";
  const program = `${recipe.out}.${compiled ? "mjs" : "ts"}`;
  writeFileSync(
    program,
    `import { train } from ${JSON.stringify(new URL(module, import.meta.url).href)};
     const result = await train(${JSON.stringify(recipe)}, {
       output: null,
       onEvent: (event) => event.type === "step" && console.log(event.step),
     });
     console.log(JSON.stringify(result));`,
  );
  const loader = compiled ? [] : ["--import", "jiti/register"];
  const cwd = fileURLToPath(new URL("../..", import.meta.url));
  return start([process.execPath, ...loader, program], { cwd });
}

/** The same, once `step` is done. */
export async function trainingFrom(recipe: RecipeInput & { out: string }, step: number) {
  const run = startTraining(recipe);
  await until(() => run.stdout.split("\n").includes(String(step)));
  return run;
}
