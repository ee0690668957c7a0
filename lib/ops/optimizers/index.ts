// The optimizers, by the names that a recipe gives them.
import { readOnly } from "../../modules/read-only.js";
import { buildLars } from "./lars.js";
import type { OptimizerBuilder } from "./optimizer.js";
import { buildSgd } from "./sgd.js";

export const optimizers = readOnly(
  { sgd: buildSgd, lars: buildLars } satisfies Record<string, OptimizerBuilder>,
  "pass your optimizer to `compile`, or add it in a clone of the repository",
);
