// The optimisers, by the names that a recipe gives them.
import type { OptimizerBuilder } from "./optimizer.js";
import { buildSgd } from "./sgd.js";

export const optimizers = { sgd: buildSgd } satisfies Record<string, OptimizerBuilder>;
