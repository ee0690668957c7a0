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
  const own = <T>(use: () => T, declared: ReadonlyMap<string, unknown> = new Map()): T => {
    try {
      return use();
    } catch (error) {
      if (error instanceof UsageError) throw error;
      // The code stays: ERR_ONEHOUR_SHAPE says that the network cannot take such images.
      if (error instanceof OnehourError) {
        const last = error.code === "ERR_ONEHOUR_MODEL" ? undefined : [...declared.keys()].at(-1);
        const where = last === undefined ? "" : `after it declared ${last}: `;
        throw new UsageError(error.code, `${who}: ${where}${error.message}`, { cause: error });
      }
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
        const declared = new Map<string, Declared>();
        const logits = own(
          () => model.build(withSoundTensors(network, declared, refuse), x),
          declared,
        );
        const wanted = [x.shape[0], options.classes];
        if (!(logits instanceof Value) || String(logits.shape) !== String(wanted)) {
          const found = logits instanceof Value ? `[${logits.shape}]` : shown(logits);
          throw refuse(`it returned ${found}; expected logits, a value of shape [${wanted}]`);
        }
        const used = sources(logits);
        const unused = [...declared].find(
          ([, { role, value }]) => !role.startsWith("running") && !used.has(value),
        )?.[0];
        if (unused !== undefined && network.training)
          throw refuse(`its logits do not depend on ${unused}; use it, or do not declare it`);
        return logits;
      },
    };
  };
  return Object.assign(build, { smallImages: builder.smallImages === true });
}

interface Declared {
  role: string;
  value: Value;
}

/** The values that a value is computed from, itself too. */
function sources(value: Value): Set<Value> {
  const found = new Set([value]);
  for (const { node } of found)
    for (const input of Object.values(node?.inputs ?? {})) found.add(input);
  return found;
}

/** Why a checkpoint could not hold a tensor of this name, or give it back. */
function unfitName(name: string): string | undefined {
  if (!/^[\w-]+(\.[\w-]+)*$/.test(name))
    return "use letters, digits, - and _, with dots between, such as block1.conv";
  if (/^(momentum\.|rank\.\d+\.|__)|num_batches_tracked$/.test(name))
    return "checkpoints use such names for what is no weight; choose another";
  return undefined;
}

/**
 * Refuses tensors that a checkpoint could not hold: of unfit names or shapes, and two of one name. Keeps them in
 * `declared`.
 */
function withSoundTensors(
  network: Network,
  declared: Map<string, Declared>,
  refuse: (problem: string) => Error,
): Network {
  const declare = <D extends Declaration<string>>(declaration: D, make: (d: D) => Value) => {
    const { name, shape } = declaration;
    const unfit = unfitName(name);
    if (unfit !== undefined) throw refuse(`a tensor cannot be called ${shown(name)}; ${unfit}`);
    if (shape.length === 0 || !shape.every((size) => Number.isInteger(size) && size > 0))
      throw refuse(
        `${name} has the shape [${shape}]; expected whole numbers of 1 or more, such as [1]`,
      );
    if (declared.has(name))
      throw refuse(`two of its tensors are called ${name}; name each layer once`);
    const value = make(declaration);
    declared.set(name, { role: declaration.role, value });
    return value;
  };
  return {
    ...network,
    parameter: (declaration) => declare(declaration, network.parameter),
    statistic: (declaration) => declare(declaration, network.statistic),
  };
}
