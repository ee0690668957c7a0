// Fusion: a table of rewrites of the op graph, each used only where the backend has the kernel.
import {
  batchNormApply,
  batchNormFinalize,
  batchNormInference,
  batchNormMoments,
  batchNormStatistics,
  maskLanes,
} from "../ops/batch-norm.js";
import {
  batchNormApplyPair,
  batchNormBackwardPair,
  batchNormReducePair,
} from "../ops/batch-norm-pair.js";
import {
  batchNormApplyMaxPool,
  batchNormBackwardMaxPool,
  batchNormInferenceMaxPool,
} from "../ops/batch-norm-pool.js";
import { conv2dMoments, conv2dStatistics } from "../ops/conv.js";
import { elements, type Graph, type Node, type Op, Storage, Value } from "./graph.js";
import { changed, Editor, type Rewrite } from "./rewrite.js";
import { optionalOutputs } from "./signature.js";

const normalizing = new Set([batchNormApply.name, batchNormInference.name]);

/** The batch-norm-apply whose gradient a batch-norm-reduce begins, if `y` is its result. */
function applied(reduce: Node, y: Value | undefined): Node | undefined {
  const node = y?.node;
  return node?.op === batchNormApply && node.inputs.x === reduce.inputs.x ? node : undefined;
}

/** γ and β of the batch norm that a reduce or backward belongs to. */
function affine(apply: Node): Record<string, Value | undefined> {
  return { gamma: apply.inputs.gamma, beta: apply.inputs.beta };
}

const addIntoBatchNorm = (op: string): Rewrite => ({
  name: `${op} + add`,
  at: "add",
  needs: [op],
  rewrite(sum, edit) {
    // Of two batch norms the later one takes the other: backward begins with it, and masks there.
    const [last, first] = edit.latestFirst(sum.inputs.a!, sum.inputs.b!) as [Value, Value];
    for (const [input, residual] of [
      [last, first],
      [first, last],
    ] as const) {
      const norm = input.node;
      if (norm?.op.name !== op || norm.inputs.residual || norm.attributes.relu !== 0) continue;
      if (edit.onlyUser(input) !== sum || input === residual) continue;
      const fused = changed(norm, { inputs: { residual }, outputs: { y: sum.outputs.y! } });
      edit.remove(norm);
      edit.replace(sum, fused);
      return;
    }
  },
});

const reluInto = (op: string): Rewrite => ({
  name: `${op} + relu`,
  at: "relu",
  needs: [op],
  rewrite(relu, edit) {
    const before = relu.inputs.x!;
    const node = before.node;
    if (node?.op.name !== op || node.attributes.relu !== 0 || edit.onlyUser(before) !== relu)
      return;
    const fused = changed(node, { attributes: { relu: 1 }, outputs: { y: relu.outputs.y! } });
    edit.remove(node);
    edit.replace(relu, fused);
  },
});

/**
 * relu-backward + batch-norm-reduce. Without a residual the mask is recomputed from x, so y is not
 * read and nothing is written; with one the reduction writes the masked gradient for the other path.
 */
const reluBackwardIntoReduce: Rewrite = {
  name: "relu-backward + batch-norm-reduce",
  at: "relu-backward",
  needs: ["batch-norm-reduce", "batch-norm-backward"],
  rewrite(mask, edit) {
    const dz = mask.outputs.dx!;
    const { dy, y } = mask.inputs as { dy: Value; y: Value };
    const [reduce, backward, ...others] = edit.users(dz);
    if (reduce?.op.name !== "batch-norm-reduce" || reduce.attributes.relu !== 0) return;
    if (reduce.inputs.dy !== dz || reduce.inputs.dy2 || reduce.outputs.dz) return;
    if (dz.storage.arena !== "temp") return;
    const norm = applied(reduce, y);
    const same = norm?.attributes.relu === 1 && norm.inputs.residual === undefined;
    const alone =
      backward === undefined ||
      (backward.op.name === "batch-norm-backward" && backward.inputs.x === reduce.inputs.x);
    const attributes = { relu: 1 };
    edit.remove(mask);
    if (norm && same && alone && others.length === 0) {
      const inputs = { dy, ...affine(norm) };
      edit.replace(reduce, changed(reduce, { attributes, inputs }));
      if (backward)
        edit.replace(
          backward,
          changed(backward, { attributes, inputs: { dz: dy, beta: norm.inputs.beta } }),
        );
      return;
    }
    const inputs = norm && same ? { dy, ...affine(norm) } : { dy, y };
    edit.replace(reduce, changed(reduce, { attributes, inputs, outputs: { dz } }));
  },
};

/** A batch norm whose result is pooled and read by nothing else, after backward's masks are gone. */
const batchNormIntoMaxPool = (from: Op, to: Op): Rewrite => ({
  name: `${from.name} + max-pool`,
  at: "max-pool",
  needs: [to.name],
  rewrite(pool, edit) {
    const image = pool.inputs.x!;
    const norm = image.node;
    if (norm?.op !== from || norm.inputs.residual || edit.onlyUser(image) !== pool) return;
    const { attributes, outputs } = pool;
    edit.remove(norm);
    edit.replace(pool, { ...changed(norm, { op: to, attributes }), outputs });
  },
});

/**
 * The gradient of a batch norm that was pooled, from the pooled image's: the sums run over what was
 * the largest, and each pixel of dx is gathered from the windows over it.
 */
const maxPoolBackwardIntoBatchNorm: Rewrite = {
  name: "max-pool-backward + batch-norm-reduce + batch-norm-backward",
  at: "max-pool-backward",
  needs: ["batch-norm-reduce", batchNormBackwardMaxPool.name],
  rewrite(pool, edit) {
    const { dy, index } = pool.inputs as { dy: Value; index: Value };
    const image = pool.outputs.dx!;
    const forward = index.node;
    const [reduce, backward, another] = edit.users(image);
    if (forward?.op !== batchNormApplyMaxPool || another || image.storage.arena !== "temp") return;
    if (reduce?.op.name !== "batch-norm-reduce" || backward?.op.name !== "batch-norm-backward")
      return;
    const { x } = forward.inputs as { x: Value };
    const { relu } = forward.attributes;
    if ([reduce, backward].some(({ inputs, attributes: a }) => inputs.x !== x || a.relu !== relu))
      return;
    if (reduce.inputs.dy2 || reduce.inputs.y || reduce.outputs.dz) return;
    const pooled = () => dy.graph.leaf(dy.shape, dy.dtype);
    const maxima = pooled();
    const dz = relu === 1 ? pooled() : dy;
    edit.remove(pool);
    edit.replace(forward, changed(forward, { outputs: { maxima } }));
    edit.replace(
      reduce,
      changed(reduce, { inputs: { dy, x: maxima }, outputs: dz === dy ? {} : { dz } }),
    );
    edit.replace(
      backward,
      changed(backward, {
        op: batchNormBackwardMaxPool,
        attributes: { ...pool.attributes, relu: 0 },
        inputs: { dz, index, beta: undefined },
      }),
    );
  },
};

/** The sum of two gradients that only a batch norm reads: the reduction adds them itself. */
const addIntoReduce: Rewrite = {
  name: "add + batch-norm-reduce",
  at: "add",
  needs: ["batch-norm-reduce", "batch-norm-backward"],
  rewrite(sum, edit) {
    const total = sum.outputs.y!;
    const { a, b } = sum.inputs as { a: Value; b: Value };
    if (sum.attributes.relu !== 0 || total.storage.arena !== "temp") return;
    const [reduce, ...others] = edit.users(total);
    if (reduce?.op.name !== "batch-norm-reduce" || reduce.inputs.dy !== total) return;
    if (reduce.inputs.dy2) return;
    const inputs = { dy: a, dy2: b };
    if (reduce.outputs.dz) {
      if (others.length > 0) return;
      edit.remove(sum);
      edit.replace(reduce, changed(reduce, { inputs }));
    } else if (reduce.attributes.relu === 0) {
      edit.remove(sum);
      edit.replace(reduce, changed(reduce, { inputs, outputs: { dz: total } }));
    } else {
      // The mask was left to batch-norm-backward, which now reads the masked sum.
      if (others.some((node) => node.op.name !== "batch-norm-backward")) return;
      edit.remove(sum);
      edit.replace(reduce, changed(reduce, { inputs, outputs: { dz: total } }));
      for (const backward of others)
        edit.replace(
          backward,
          changed(backward, { attributes: { relu: 0 }, inputs: { beta: undefined } }),
        );
    }
  },
};

/** The shape of a mask of y; undefined where y's channels are not whole bytes of one. */
function maskShape({ shape, dtype }: Value): readonly number[] | undefined {
  const bytes = shape.at(-1)! / maskLanes(dtype);
  return Number.isInteger(bytes) ? shape.with(-1, bytes) : undefined;
}

/** The pass that writes y writes its mask too, a sixteenth of y's bytes, and the reduction reads that. */
const maskInsteadOfOutput: Rewrite = {
  name: "batch-norm-apply + mask",
  at: "batch-norm-reduce",
  needs: ["batch-norm-apply", "batch-norm-reduce"],
  rewrite(reduce, edit) {
    const apply = applied(reduce, reduce.inputs.y);
    if (apply?.attributes.relu !== 1) return;
    const y = apply.outputs.y!;
    const shape = maskShape(y);
    if (shape === undefined) return;
    const mask = new Value(y.graph, shape, "u8", new Storage(elements(shape)));
    edit.replace(apply, changed(apply, { outputs: { mask } }));
    edit.replace(reduce, changed(reduce, { inputs: { y: undefined, mask } }));
  },
};

/** Operands by the names that they have as the second of a pair. */
function second<V>(operands: Record<string, V>, ...names: string[]): Record<string, V> {
  const given = names.filter((name) => operands[name] !== undefined);
  return Object.fromEntries(given.map((name) => [`${name}2`, operands[name]!]));
}

const vectors = ["x", "mean", "inverse-std", "gamma", "beta"];

/** Two batch norms that are added, where their channels are whole bytes of a mask. */
const pairForward: Rewrite = {
  name: "batch-norm-apply + batch-norm-apply",
  at: batchNormApply.name,
  needs: [batchNormApplyPair.name],
  rewrite(apply, edit) {
    const { residual } = apply.inputs;
    const other = residual?.node;
    if (other?.op !== batchNormApply || other.attributes.relu !== 0 || other.inputs.residual)
      return;
    if (edit.onlyUser(residual!) !== apply || maskShape(residual!) === undefined) return;
    const inputs = { residual: undefined, ...second(other.inputs, ...vectors) };
    edit.remove(other);
    edit.replace(apply, changed(apply, { op: batchNormApplyPair, inputs }));
  },
};

/** The gradients of both batch norms of a pair: the second's sums are made, and exchanged, with the first's. */
const pairBackward: Rewrite = {
  name: "batch-norm-reduce + batch-norm-reduce",
  at: "batch-norm-reduce",
  needs: [batchNormReducePair.name, batchNormBackwardPair.name],
  rewrite(reduce, edit) {
    const { dz } = reduce.outputs;
    const apply = reduce.inputs.mask?.node;
    if (apply?.op !== batchNormApplyPair || dz === undefined) return;
    const [backward, reduce2, backward2, ...others] = edit.users(dz);
    if (others.length > 0 || dz.storage.arena !== "temp") return;
    const nodes = [reduce, backward, reduce2, backward2];
    const names = ["reduce", "backward", "reduce", "backward"].map((part) => `batch-norm-${part}`);
    const { x, x2 } = apply.inputs;
    if (nodes.some((node, i) => node?.op.name !== names[i])) return;
    if (nodes.some((node, i) => node!.inputs.x !== (i < 2 ? x : x2))) return;
    if (reduce.attributes.accumulate !== reduce2!.attributes.accumulate) return;
    if (backward!.attributes.count !== backward2!.attributes.count) return;
    const sums = backward2!.inputs.sums!;
    const exchange = sums.node === reduce2 ? undefined : sums.node!;

    const reducePair = changed(reduce, {
      op: batchNormReducePair,
      inputs: second(reduce2!.inputs, "x", "mean", "inverse-std", "dgamma", "dbeta"),
      outputs: second(reduce2!.outputs, "sums", "dgamma", "dbeta"),
    });
    const backwardPair = changed(backward!, {
      op: batchNormBackwardPair,
      inputs: second(backward2!.inputs, ...vectors, "sums"),
      outputs: second(backward2!.outputs, "dx"),
    });
    edit.remove(reduce2!);
    edit.remove(backward2!);
    edit.replace(reduce, reducePair);
    edit.replace(backward!, backwardPair);
    if (exchange) edit.moveBefore(exchange, backwardPair);
  },
};

const statisticsIntoConvolution: Rewrite = {
  name: "conv2d + batch-norm-statistics",
  at: "batch-norm-statistics",
  needs: [conv2dStatistics.name],
  rewrite(statistics, edit) {
    const conv = statistics.inputs.x!.node;
    if (conv?.op.name !== "conv2d") return;
    const outputs = { statistics: statistics.outputs.statistics! };
    edit.remove(statistics);
    edit.replace(conv, changed(conv, { op: conv2dStatistics, outputs }));
  },
};

/**
 * Statistics that are finalized as they are; those of a group of ranks are gathered first. Running
 * statistics that several batch norms share change in the order in which these were built.
 */
const finalizeInto = (statistics: Op, moments: Op): Rewrite => ({
  name: `${statistics.name} + batch-norm-finalize`,
  at: batchNormFinalize.name,
  needs: [moments.name],
  rewrite(finalize, edit) {
    const { statistics: local, ...running } = finalize.inputs;
    const node = local!.node;
    if (node?.op !== statistics) return;
    if (Object.values(running).some((value) => edit.users(value).length > 1)) return;
    const { attributes, outputs } = finalize;
    edit.remove(finalize);
    edit.replace(node, changed(node, { op: moments, attributes, inputs: running, outputs }));
  },
});

/** A copy made only to be overwritten, of a value that nobody else reads. */
const copyBeforeOverwrite: Rewrite = {
  name: "copy + in-place op",
  at: "copy",
  needs: [],
  rewrite(copy, edit) {
    const from = copy.inputs.x!;
    const to = copy.outputs.y!;
    const [overwrites, another] = edit.users(to);
    if (another !== undefined) return;
    if (from.dtype !== to.dtype || from.node === undefined || edit.onlyUser(from) !== copy) return;
    if (overwrites?.outputs.x === undefined || overwrites.inputs.x !== to) return;
    if (Object.values(from.node.inputs).some((value) => value.storage === from.storage)) return;
    from.storage = to.storage;
    edit.remove(copy);
    edit.replace(overwrites, changed(overwrites, { inputs: { x: from } }));
  },
};

/** In the order in which they are tried; later ones build on what earlier ones made. */
const rewrites: readonly Rewrite[] = [
  ...[...normalizing].map(addIntoBatchNorm),
  ...[...normalizing, "add"].map(reluInto),
  reluBackwardIntoReduce,
  batchNormIntoMaxPool(batchNormApply, batchNormApplyMaxPool),
  batchNormIntoMaxPool(batchNormInference, batchNormInferenceMaxPool),
  maxPoolBackwardIntoBatchNorm,
  addIntoReduce,
  maskInsteadOfOutput,
  pairForward,
  pairBackward,
  statisticsIntoConvolution,
  finalizeInto(conv2dStatistics, conv2dMoments),
  finalizeInto(batchNormStatistics, batchNormMoments),
  copyBeforeOverwrite,
];

/** Applies every rewrite whose kernels are in `operations`. */
export function fuse(graph: Graph, operations: ReadonlySet<string>): void {
  const edit = new Editor(graph);
  for (const { at, needs, rewrite } of rewrites) {
    if (!needs.every((op) => operations.has(op))) continue;
    for (const node of edit.nodes()) if (node.op.name === at && edit.has(node)) rewrite(node, edit);
  }
  edit.commit();
}

/** Drops nodes and optional outputs that nothing reads and no arena keeps. */
export function prune(graph: Graph): void {
  const read = new Set<Value>();
  const kept: Node[] = [];
  for (const node of [...graph.nodes].reverse()) {
    const outputs = Object.entries(node.outputs);
    const used = ([, value]: [string, Value]) => read.has(value) || value.storage.arena !== "temp";
    if (!outputs.some(used)) continue;
    const optional = optionalOutputs(node.op);
    for (const entry of outputs) {
      if (optional.has(entry[0]) && !used(entry)) delete node.outputs[entry[0]];
    }
    for (const value of Object.values(node.inputs)) read.add(value);
    kept.push(node);
  }
  graph.nodes = kept.reverse();
}
