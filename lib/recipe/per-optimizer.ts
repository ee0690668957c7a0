// What the help of a field says of the optimizers that leave no choice in it.
import { optimizers } from "../ops/optimizers/index.js";
import {
  type MomentumRule,
  type OptimizerFacts,
  paperMomentum as paper,
} from "../ops/optimizers/optimizer.js";

/** The names of some optimizers. */
export const optimizersWhere = (is: (facts: OptimizerFacts) => boolean) =>
  Object.entries(optimizers)
    .filter(([, facts]) => is(facts))
    .map(([name]) => name)
    .join(" or ");

/** The default of a field that some optimizers leave no choice in: the paper's, and theirs. */
export function perOptimizer(name: keyof MomentumRule): string {
  const values = new Set(Object.values(optimizers).map(({ fixed }) => fixed[name] ?? paper[name]));
  const own = [...values]
    .filter((value) => value !== paper[name])
    .map((value) => `${value} with ${optimizersWhere(({ fixed }) => fixed[name] === value)}`);
  return [paper[name], ...own].join("; ");
}
