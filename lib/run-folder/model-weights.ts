// Checks that the weights of a file are a model's, except for a head of another number of classes.

import type { TensorLayout } from "../graph/compile.js";
import { isModule, modulePath } from "../modules/pinned.js";
import { setting } from "../recipe/voice.js";
import { commandLine } from "../text/command.js";
import { plural } from "../text/words.js";
import type { Checkpoint, Shapes } from "./checkpoint.js";
import { refuseFile } from "./refuse-file.js";
import { requireSound } from "./soundness.js";

/** The layer of the classes: how many a file's weights have, how many the model, and its tensors. */
interface OtherHead {
  given: number;
  wanted: number;
  tensors: TensorLayout[];
}

/** The head, where a file's differs from the model's in the number of classes and in nothing else. */
export function otherHead(shapes: Shapes, layouts: readonly TensorLayout[]): OtherHead | undefined {
  // Layouts are in the order in which backward produces gradients, so the last layer comes first.
  const layer = layouts.find(({ role }) => role === "linear")?.name.replace(/weight$/, "");
  const tensors = layouts.filter(({ name }) => layer !== undefined && name.startsWith(layer));
  const given = new Set(tensors.map(({ name }) => shapes.get(name)?.[0]));
  const alike = tensors.every(
    ({ name, shape }) => String(shapes.get(name)?.slice(1)) === String(shape.slice(1)),
  );
  const [classes] = given;
  const wanted = tensors[0]?.shape[0];
  if (!alike || given.size !== 1 || !classes || !wanted || classes === wanted) return undefined;
  return { given: classes, wanted, tensors };
}

/** What keeps these weights from being a model's; undefined when they fit. */
function mismatch(
  { shapes, weights }: Checkpoint & { shapes: Shapes },
  layouts: readonly TensorLayout[],
): string | undefined {
  const wanted = new Set(layouts.map(({ name }) => name));
  for (const { name, shape } of layouts) {
    const found = shapes.get(name);
    if (!found) return `it has no tensor ${name}`;
    if (String(found) !== String(shape)) return `its tensor ${name} is [${found}], not [${shape}]`;
  }
  const extra = [...weights.keys()].find((name) => !wanted.has(name));
  return extra === undefined ? undefined : `the model has no tensor ${extra}`;
}

/** The same tensors but those of the head. */
function withoutHead<T>(tensors: ReadonlyMap<string, T>, { tensors: head }: OtherHead) {
  const names = new Set(head.map(({ name }) => name));
  return new Map([...tensors].filter(([name]) => !names.has(name)));
}

/**
 * Throws ERR_ONEHOUR_CHECKPOINT, naming file and model, unless the weights fit and are sound. With
 * `head`, which starts anew, those of all other layers need to.
 */
export function requireModelWeights(
  file: string,
  checkpoint: Checkpoint & { shapes: Shapes },
  layouts: readonly TensorLayout[],
  model: string,
  head?: OtherHead,
): void {
  const problem = head ? mismatchBeside(checkpoint, layouts, head) : mismatch(checkpoint, layouts);
  if (!problem) {
    requireSound(file, head ? withoutHead(checkpoint.weights, head) : checkpoint.weights);
    return;
  }
  const wrong = `these are not weights of ${model} for this data set: ${problem}`;
  const other = otherHead(checkpoint.shapes, layouts);
  if (other && !head && !mismatchBeside(checkpoint, layouts, other)) {
    throw refuseFile(
      file,
      `${wrong}, so they have ${plural(other.given, "class")} and not its ${other.wanted}`,
      `name a data set of ${plural(other.given, "class")}, or train a new head: ` +
        commandLine("train", "DATASET", "--init", file),
    );
  }
  const foreign = checkpoint.model !== undefined && checkpoint.model !== model;
  throw refuseFile(
    file,
    wrong,
    foreign
      ? `it was saved from ${checkpoint.model}; try ${setting("model", modelOf(checkpoint))}`
      : "name another file",
  );
}

/** What names the model that a checkpoint was saved from: its module, where it is a user's own. */
function modelOf({ model, recipe }: Checkpoint): string | undefined {
  const own = recipe?.model;
  return typeof own === "string" && isModule(own) ? modulePath(own) : model;
}

function mismatchBeside(
  { shapes, weights }: Checkpoint & { shapes: Shapes },
  layouts: readonly TensorLayout[],
  head: OtherHead,
): string | undefined {
  return mismatch(
    { shapes: withoutHead(shapes, head), weights: withoutHead(weights, head) },
    layouts.filter((layout) => !head.tensors.includes(layout)),
  );
}
