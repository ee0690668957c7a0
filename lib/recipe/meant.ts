// Guesses what was meant by a word that is not a field or flag: a typing error, or a word of another tool.
import { optimizers } from "../ops/optimizers/index.js";
import { closestTo, plain } from "../text/nearest.js";
import { type FieldName, kindOf, rows } from "./table.js";
import { currentVoice, flagName, nameOf, type Voice } from "./voice.js";

/**
 * Words of other tools that are not a field here, each with what to do instead, and the flag without which a
 * command cannot.
 */
const advice: readonly [words: string, answer: (as: Voice) => string, flag?: string][] = [
  [
    "nodes nnodes num-nodes node-rank machines hosts hostfile master-addr master-port rdzv-endpoint " +
      "rdzv-backend dist-url rendezvous init-method rank local-rank",
    (as) =>
      as === "flags"
        ? "the machines of a run are named by --nodes, --node-rank and --rendezvous host:port, unless an " +
          "engine such as srun says which they are"
        : "the machines of a run are no part of its recipe: " +
          'train(recipe, { cluster: { nodes: 2, nodeRank: 0, rendezvous: "host:port" } })',
    "--nodes",
  ],
  [
    "num-workers data-workers loader-workers j dataloader-num-workers prefetch-factor pin-memory",
    (as) =>
      `images are decoded by threads that need no number; ${nameOf("workers", as)} is the number of ` +
      "processes that train",
  ],
  [
    "adam adamw rmsprop adagrad",
    (as) =>
      `the optimizers are those of ${nameOf("optimizer", as)}: ${Object.keys(optimizers).join(", ")}`,
  ],
  [
    "lr-gamma gamma decay-rate",
    (as) =>
      `with the step ${nameOf("lrSchedule", as)} the rate is divided by ten at each of ` +
      `${nameOf("milestones", as)}; a schedule of another kind may be a module of yours`,
  ],
  [
    "loss-scale static-loss-scale dynamic-loss-scale init-scale growth-interval grad-scaler",
    (as) =>
      `with ${nameOf("precision", as)} fp16 the scale of the loss follows from the gradients, as that of ` +
      "PyTorch's GradScaler",
  ],
  [
    "eval evaluate evaluate-only test test-only validate",
    () => "a checkpoint is tested by `onehour evaluate CHECKPOINT`",
  ],
  ["num-classes nb-classes classes", () => "the number of classes is the data set's"],
  [
    "val-dir val-data test-dir val-split split",
    () => "a folder has train/CLASS/ and val/CLASS/; name the folder that holds both",
  ],
  [
    "config cfg config-file hparams recipe",
    (as) => (as === "flags" ? "did you mean --recipe?" : "a recipe is the fields themselves"),
    "--recipe",
  ],
  [
    "resume continue auto-resume",
    // A recipe's file, whose words are fields, may be one of the command's.
    () =>
      currentVoice() === "flags"
        ? "a run is continued by --resume --out FOLDER"
        : "a script continues a run by train({ out: FOLDER }, { resume: true })",
    "--resume",
  ],
];

/** The words that mean a field: its name, its flag's, its values' names, and its names in other tools. */
export function wordsOf([name, row]: (typeof rows)[number]): ReadonlySet<string> {
  const { alias = "" } = row;
  const words = [name, flagName(name), ...kindOf(row).words, ...alias.split(" ")];
  return new Set(words.map(plain).filter((word) => word !== ""));
}

const fieldOf = (word: string): FieldName | undefined =>
  rows.find((row) => wordsOf(row).has(word))?.[0];

/**
 * What was probably meant by a word that is not one of the `known` fields, flags or arguments, as the rest of a
 * sentence; undefined where nothing is close.
 */
export function meaning(given: string, known: readonly string[], as: Voice): string | undefined {
  const word = plain(given);
  if (word === "") return undefined;
  const words = [word, word.replace(/^no/, "")];
  const field = words.map(fieldOf).find((found) => found !== undefined);
  if (field && known.includes(nameOf(field, as))) {
    const name = nameOf(field, as);
    const isArgument = as === "flags" && !name.startsWith("--");
    return isArgument ? `the ${name} is named without a flag.` : `did you mean ${name}?`;
  }
  const [, answer, flag] =
    advice.find(([all]) => all.split(" ").some((one) => plain(one) === word)) ?? [];
  const isOffered = as === "fields" || flag === undefined || known.includes(flag);
  if (answer && isOffered) return `${answer(as)}${answer(as).endsWith("?") ? "" : "."}`;
  const close = closestTo(given, known);
  return close && `did you mean ${close}?`;
}
