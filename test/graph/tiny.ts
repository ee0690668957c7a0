// A tiny network and its programs, for the tests of compilation.
import { compile } from "../../lib/graph/compile.js";
import { parse } from "../../lib/graph/parse.js";
import type { Instruction } from "../../lib/graph/program.js";
import type { Model, ParameterRole } from "../../lib/models/model.js";
import { batchNorm, conv2d, globalAveragePool, linear } from "../../lib/ops/index.js";
import { optimizers } from "../../lib/ops/optimizers/index.js";
import type { MomentumSettings } from "../../lib/ops/optimizers/optimizer.js";
import { type Changes, optionsFor } from "./options.js";

/** A convolution, a batch norm, a classifier. */
export const tiny: Model = {
  channels: 1,
  classes: 2,
  build(network, x) {
    const one = { kind: "constant", value: 1 } as const;
    const parameter = (name: string, role: ParameterRole, shape: number[], stored = shape) =>
      network.parameter({ name, role, shape, stored, initial: one });
    const running = (name: string, role: "running-mean" | "running-variance") =>
      network.statistic({ name, role, shape: [8], stored: [8], initial: one });
    const w = parameter("conv.weight", "convolution", [8, 1, 3, 3], [8, 3, 3, 1]);
    const y = batchNorm(conv2d(x, w, { padding: 1 }), {
      gamma: parameter("bn.weight", "gamma", [8]),
      beta: parameter("bn.bias", "beta", [8]),
      runningMean: running("bn.running_mean", "running-mean"),
      runningVariance: running("bn.running_var", "running-variance"),
      ...network.batchNorm,
      training: network.training,
      relu: true,
    });
    const fc = parameter("fc.weight", "linear", [2, 8]);
    return linear(globalAveragePool(y), fc, parameter("fc.bias", "bias", [2]));
  },
};

/** Its programs with a minibatch of two images of 4 × 4 pixels, changed as asked. */
export function compileTiny(changes: Changes = {}, settings: Partial<MomentumSettings> = {}) {
  const update = { optimizer: optimizers.sgd(settings) };
  const image = { height: 4, width: 4 };
  const compiled = compile(tiny, optionsFor(tiny, { image, ...changes }), update);
  const texts = Object.fromEntries(compiled.programs.map(({ name, text }) => [name, text]));
  const instructions = (name: string): Instruction[] => parse(texts[name]!).instructions;
  const ops = (name: string, op: string) => instructions(name).filter((i) => i.op === op);
  return { compiled, texts, instructions, ops };
}
