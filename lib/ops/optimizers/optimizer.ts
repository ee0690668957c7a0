// The type of an optimizer: a function that adds the update of a range of parameters to a step's graph.
import type { Storage, Value } from "../../graph/graph.js";
import type { ParameterRole } from "../../models/model.js";

/** Consecutive parameters that are updated together: a bucket. */
export interface ParameterRange {
  /**
   * Parameters, their mean gradient over the minibatch, momentum: f32 [L]. In fp16 g is the gradient times
   * the loss scale, and `writes.factor` undoes it.
   */
  w: Value;
  g: Value;
  v: Value;
  /** (η, c) of the step, f32 [2]: the learning rate and the factor on the old momentum. */
  schedule: Value;
  /** The tensors in order; the lengths, with their padding, sum to L. */
  tensors: readonly { length: number; role: ParameterRole }[];
  /** Their norms, f32 [S, 3] as the op `norms` gives them; where the optimizer needs them. */
  norms: Value | undefined;
  /** What the update writes besides w and v, and what it scales g by. */
  writes: {
    /** Whether it clears g, to which the next step's micro-batches add. */
    zero: boolean;
    /** The type in which it writes w too. */
    copy?: "bf16" | "f16" | undefined;
    /** What g is to be multiplied by, f32 [1], where the loss was scaled; 0 where the step is skipped. */
    factor?: Value | undefined;
    /** Where `copy` goes, and `finite`, f32 [1]: the number of elements of g that are not finite. */
    into: Record<string, Storage>;
  };
}

/** How a step changes the parameters. */
export interface Optimizer {
  /** Whether it needs the norms of all tensors, and so the whole gradient before the first update. */
  needsNorms?: boolean;
  /** Adds the update of a range to the graph of its values. */
  update(range: ParameterRange): void;
}

/** `gradient`: u ← m·u + g, w ← w − η·u. `velocity`: v ← m·c·v + η·g, w ← w − v. */
export const momentumForms = ["gradient", "velocity"] as const;
export type MomentumForm = (typeof momentumForms)[number];

/** What an optimizer is built with; the fields of a recipe. */
export interface MomentumSettings {
  /** m */
  momentum: number;
  momentumForm: MomentumForm;
  nesterov: boolean;
  /** λ */
  weightDecay: number;
  /** Whether batch norm's γ and β decay too, whatever the optimizer spares. */
  normWeightDecay: boolean;
}

/** How the momentum is kept: fields of a recipe that an optimizer may leave no choice in. */
export interface MomentumRule {
  momentumForm: MomentumForm;
  /** Whether c of the velocity form is η_t/η_{t−1}, and not 1 (paper, remark 2). */
  momentumCorrection: boolean;
  nesterov: boolean;
}

/** The paper's. */
export const paperMomentum: MomentumSettings & MomentumRule = {
  momentum: 0.9,
  momentumForm: "gradient",
  momentumCorrection: true,
  nesterov: true,
  weightDecay: 1e-4,
  normWeightDecay: false,
};

/** What the recipe and its help know of an optimizer. */
export interface OptimizerFacts {
  /** What it is or does; the help says it after its name. */
  readonly help: string;
  /** The fields that it leaves no choice in, with their values. */
  readonly fixed: Readonly<Partial<MomentumRule>>;
  /** Roles of the parameters that weight decay spares; γ and β only where `normWeightDecay` is not set. */
  readonly spares: readonly ParameterRole[];
}

export interface OptimizerBuilder extends OptimizerFacts {
  /** Builds an optimizer, with the paper's settings where none are given. */
  (settings?: Partial<MomentumSettings>): Optimizer;
}

export function optimizerBuilder(
  facts: OptimizerFacts,
  build: (settings: MomentumSettings, spares: (role: ParameterRole) => boolean) => Optimizer,
): OptimizerBuilder {
  const withDefaults = (given: Partial<MomentumSettings> = {}) => {
    const settings = { ...paperMomentum, ...given, ...facts.fixed };
    const decays = (role: ParameterRole) =>
      settings.normWeightDecay && (role === "gamma" || role === "beta");
    return build(settings, (role) => facts.spares.includes(role) && !decays(role));
  };
  return Object.assign(withDefaults, facts);
}
