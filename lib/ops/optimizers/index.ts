// The optimizers, by the names that a recipe gives them.
import { buildLars } from "./lars.js";
import type { OptimizerBuilder } from "./optimizer.js";
import { buildSgd } from "./sgd.js";

export const optimizers = { sgd: buildSgd, lars: buildLars } satisfies Record<
  string,
  OptimizerBuilder
>;
