// Checks a user's own network where it is built: names what is wrong, and the network.
import { OnehourError, UsageError } from "../errors.js";
import { Value } from "../graph/graph.js";
import { modulePath, titleOf } from "../modules/pinned.js";
import { shown } from "../text/words.js";
import type { Declaration, Model, ModelBuilder, Network } from "./model.js";

/** A builder whose networks are checked while they are built. */
export function checked(name: string, builder: ModelBuilder): ModelBuilder {
  const who = titleOf(name) === name ? `the network ${name}` : modulePath(name);
  const refuse = (problem: string, cause?: unknown) =>
    new UsageError("ERR_ONEHOUR_MODEL", `${who}: ${problem}`, { cause });
  const own = <T>(use: () => T): T => {
    try {
      return use();
    } catch (error) {
      if (error instanceof OnehourError) throw error;
      throw refuse(error instanceof Error ? error.message : `threw ${shown(error)}`, error);
    }
  };
  const build = (options: { channels: number; classes: number }): Model => {
    const model = own(() => builder(options));
    if (typeof model?.build !== "function") {
      throw refuse(
        `its builder returned ${shown(model)}; expected { channels, classes, build }, as \`network\` ` +
          "makes it",
      );
    }
    return {
      ...options,
      build(network, x) {
        const logits = own(() => model.build(withSoundTensors(network, refuse), x));
        const wanted = [x.shape[0], options.classes];
        if (!(logits instanceof Value) || String(logits.shape) !== String(wanted)) {
          const found = logits instanceof Value ? `[${logits.shape}]` : shown(logits);
          throw refuse(`it returned ${found}; expected logits, a value of shape [${wanted}]`);
        }
        return logits;
      },
    };
  };
  return Object.assign(build, { smallImages: builder.smallImages === true });
}

/** Why a checkpoint could not hold a tensor of this name, or give it back. */
function unfitName(name: string): string | undefined {
  if (!/^[\w-]+(\.[\w-]+)*$/.test(name))
    return "use letters, digits, - and _, with dots between, such as block1.conv";
  if (/^(momentum\.|rank\.\d+\.|__)|num_batches_tracked$/.test(name))
    return "checkpoints use such names for what is no weight; choose another";
  return undefined;
}

/** Refuses tensors that a checkpoint could not hold: of unfit names or shapes, and two of one name. */
function withSoundTensors(network: Network, refuse: (problem: string) => Error): Network {
  const names = new Set<string>();
  const declare = <D extends Declaration<string>>(declaration: D): D => {
    const { name, shape } = declaration;
    const unfit = unfitName(name);
    if (unfit !== undefined) throw refuse(`a tensor cannot be called ${shown(name)}; ${unfit}`);
    if (shape.length === 0 || !shape.every((size) => Number.isInteger(size) && size > 0))
      throw refuse(
        `${name} has the shape [${shape}]; expected whole numbers of 1 or more, such as [1]`,
      );
    if (names.has(name))
      throw refuse(`two of its tensors are called ${name}; name each layer once`);
    names.add(name);
    return declaration;
  };
  return {
    ...network,
    parameter: (declaration) => network.parameter(declare(declaration)),
    statistic: (declaration) => network.statistic(declare(declaration)),
  };
}
