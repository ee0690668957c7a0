// How an experiment decides, in the words of its report.
import { readExperiment } from "./options.js";
import { guessError } from "./records.js";
import type { ExperimentResult } from "./result.js";
import { batch, choice, setting as packaged, type Setting } from "./setting.js";
import { equalWithin, level } from "./verdicts.js";

/** Where the setting comes from, and whether its seeds can be among those of the verdicts. */
export function originText({ name, setting, firstSeed }: ExperimentResult): string {
  const keys = Object.keys(packaged) as (keyof Setting)[];
  const others = keys.filter((key) => `${setting[key]}` !== `${packaged[key]}`);
  if (others.length === 0) {
    const isUsual = firstSeed === readExperiment(name, {}).firstSeed;
    const seeds = ` But --first-seed ${firstSeed} was asked for here, so verdicts may use such seeds too.`;
    return `The setting is the package's. ${choice}${isUsual ? "" : seeds}`;
  }
  return (
    `The setting was asked for; from the package's it differs in ${others.join(", ")}. How it was chosen, this page ` +
    "cannot know."
  );
}

/** What was measured, and what makes a verdict. */
export function method({ name, classes }: ExperimentResult): string[] {
  const guess = guessError(classes).toFixed(guessError(classes) % 1 === 0 ? 0 : 2);
  return [
    "Runs differ in kn alone, or else in what a table or a remark names. Every run of a figure or a table has one worker, " +
      `which computes micro-batches of n = ${batch} images; their number makes up kn. The error of a ` +
      "run is the median over its last five epochs' tests, as in the paper; of fewer than five epochs, that of the last.",
    "A seed decides the first weights, the order of the images, and how they are augmented, if at all. Every point has " +
      "its first seed before any has its second, so wherever the time ends, points differ by one seed at most. " +
      (name === "paper" ? "Table 2's variants come after all seeds of the others. " : "") +
      "± is the standard deviation of single runs.",
    "Fixed before any of these runs: two errors are equal where two one-sided t tests of their differences, a seed each, " +
      `exclude ${equalWithin} points either way, and differ where one shows more than that. Runs of a seed begin with the same ` +
      "weights, so what those add to one error they add to the other. One error is higher than another where a " +
      `one-sided Welch test shows it; each at p < ${level}. Whatever no test shows is undecided, as with fewer than two ` +
      "seeds. There is no correction for the number of claims. How far a flat part of Figure 1 reaches is read from the " +
      "runs: up to the last minibatch above the baseline before one that is not shown to have its error.",
    `A run that diverged counts with the error of a guess, ${guess} %, as one that collapsed with finite numbers does; to ` +
      "leave it out would flatter what makes runs diverge. One that failed for another reason is no result and counts " +
      "nowhere.",
  ];
}
