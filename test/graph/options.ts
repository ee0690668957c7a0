// Options shared by the tests of compiled programs.
import {
  type CompiledModel,
  type CompileOptions,
  compile,
  type Update,
} from "../../lib/graph/compile.js";
import type { Graph, Value } from "../../lib/graph/graph.js";
import type { Model } from "../../lib/models/model.js";
import { models } from "../../lib/models/models.js";
import { type BatchNormOptions, batchNorm } from "../../lib/ops/batch-norm.js";
import { optimizers } from "../../lib/ops/optimizers/index.js";
import { commonOps } from "../support/op-book.js";

export const imagenetMean = [0.485, 0.456, 0.406];

/** A model with the channels and classes of the images that it is made for. */
export function modelOf(name: string): Model {
  const builder = models[name]!;
  return builder.smallImages
    ? builder({ channels: 1, classes: 10 })
    : builder({ channels: 3, classes: 1000 });
}

/** Changes to the options of `optionsFor`. */
export type Changes = Partial<CompileOptions> & {
  operations?: ReadonlySet<string>;
  channelMultiple?: number;
};

/** Two images of Fashion-MNIST or ImageNet on one worker, changed as asked. */
export function optionsFor(
  { channels }: Pick<Model, "channels">,
  { operations = commonOps, channelMultiple, ...changes }: Changes = {},
): CompileOptions {
  const small = channels === 1;
  const side = small ? 28 : 224;
  return {
    device: {
      operations,
      properties: { channelMultiple: channelMultiple ?? (small ? 1 : 4) },
    },
    image: { height: side, width: side },
    mean: small ? [0.286] : imagenetMean,
    std: small ? [0.353] : [0.229, 0.224, 0.225],
    batch: 2,
    ...changes,
  };
}

/** The paper's update. */
export const update: Update = { optimizer: optimizers.sgd() };

/** The programs of a training run, with the paper's update. */
export function compileFor(model: Model, changes: Changes = {}): CompiledModel {
  return compile(model, optionsFor(model, changes), update);
}

/** Batch norm with inputs for its vectors; with these options. */
export function normOf(g: Graph, x: Value, options: Partial<BatchNormOptions> = {}) {
  const vector = () => g.input([x.shape[3]!]);
  const [gamma, beta] = [vector(), vector()];
  const running = { runningMean: vector(), runningVariance: vector() };
  return { y: batchNorm(x, { gamma, beta, ...running, ...options }), gamma, beta };
}
