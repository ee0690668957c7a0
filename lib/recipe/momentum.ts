// How an optimizer keeps its momentum: what a recipe may choose, and what follows from the optimizer.
import { optimizers } from "../ops/optimizers/index.js";
import { type MomentumRule, paperMomentum } from "../ops/optimizers/optimizer.js";
import { type PartialRecipe, type RecipeInput, refuse } from "./fields.js";
import { setting } from "./voice.js";

const names = ["momentumForm", "momentumCorrection", "nesterov"] as const;

/** What an optimizer does where a recipe does not choose. */
function defaultsOf(optimizer: PartialRecipe["optimizer"]): MomentumRule {
  const { momentumForm, momentumCorrection, nesterov } = paperMomentum;
  return { momentumForm, momentumCorrection, nesterov, ...optimizers[optimizer].fixed };
}

/** Fills in what is left open. Throws ERR_ONEHOUR_RECIPE for what the optimizer leaves no choice in. */
export function momentumOf(recipe: PartialRecipe): MomentumRule {
  const { optimizer } = recipe;
  const { fixed } = optimizers[optimizer];
  for (const name of names) {
    const [own, asked] = [fixed[name], recipe[name]];
    if (own === undefined || asked === undefined || asked === own) continue;
    throw refuse(
      name,
      `${optimizer} has a rule of its own, ${setting(name, own)}; leave it out, or take ` +
        setting("optimizer", "sgd"),
    );
  }
  const chosen = names.flatMap((name) =>
    recipe[name] === undefined ? [] : [[name, recipe[name]]],
  );
  return { ...defaultsOf(optimizer), ...Object.fromEntries(chosen) };
}

/** The fields of a recipe that only follow from its optimizer, and go with it. */
export function followingOptimizer({ optimizer = "sgd", ...recipe }: RecipeInput) {
  const defaults = defaultsOf(optimizer);
  return names.filter((name) => recipe[name] === defaults[name]);
}
