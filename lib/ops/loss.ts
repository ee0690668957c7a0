// Softmax cross-entropy with label smoothing, top-1 and top-5 counts, and its gradient.
import type { Value } from "../graph/graph.js";
import { defineOp } from "../graph/graph.js";
import type { CaseRow } from "./cases.js";
import { cast } from "./elementwise.js";

export const softmaxCrossEntropyBackward = defineOp<"dlogits">({
  name: "softmax-cross-entropy-backward",
  signature: "probabilities:f32[N,K] labels:i32[N] -> dlogits:T[N,K]",
});

export const softmaxCrossEntropyOp = defineOp<"metrics" | "probabilities">({
  name: "softmax-cross-entropy",
  signature:
    "logits:f32[N,K] labels:i32[N] metrics?:f32[4] -> metrics:f32[4] probabilities:f32[N,K]",
  // The gradient of metrics[0], the loss; a loss starts back-propagation, so nothing arrives in d.
  gradient: ({ inputs, outputs, attributes }) => {
    const { logits, labels } = inputs as { logits: Value; labels: Value };
    const from = { probabilities: outputs.probabilities, labels };
    const { smoothing = 0, scale = 1 } = attributes;
    // Logits are f32 in every precision, what comes before them is not: the layer below converts
    // nothing when the gradient has its type from the start.
    const T = logits.node?.inputs.x?.dtype ?? "f32";
    return {
      logits: logits.graph.apply(
        softmaxCrossEntropyBackward,
        from,
        { smoothing, scale },
        { types: { T } },
      ).dlogits,
    };
  },
});

/**
 * Cross-entropy of softmax(logits) with integer labels, times `scale`, and counts of correct answers.
 *
 * With smoothing ε the target is (1 − ε) for the label plus ε/K everywhere. Label −1 counts in no
 * sum; a NaN logit is never correct and makes the loss NaN. Divide the loss by the global minibatch
 * with scale = 1/kn and sum gradients over workers (paper, remark 3).
 *
 * @param logits f32 [N, K]
 * @param labels i32 [N], −1 … K − 1
 * @returns metrics f32 [4]: Σ loss·scale, top-1 correct, top-5 correct, images counted; and the
 *   probabilities f32 [N, K]
 * @throws OnehourError ERR_ONEHOUR_SHAPE
 */
export function softmaxCrossEntropy(
  logits: Value,
  labels: Value,
  options: { smoothing?: number; scale?: number } = {},
): { metrics: Value; probabilities: Value } {
  const { smoothing = 0, scale = 1 } = options;
  const f32 = logits.dtype === "f32" ? logits : cast(logits, "f32");
  return logits.graph.apply(softmaxCrossEntropyOp, { logits: f32, labels }, { smoothing, scale });
}

interface LossRow extends CaseRow {
  logits: readonly number[];
  smoothing: number;
  scale: number;
  /** Logits lie in ± this. */
  range: number;
  /** Images whose label is −1. */
  ignored: readonly number[];
}

/** Rows of softmax cross-entropy, which starts back-propagation itself; its test builds them. */
export const lossRows: readonly LossRow[] = [
  {
    name: "plain",
    logits: [6, 10],
    smoothing: 0,
    scale: 0.015625,
    range: 2,
    ignored: [],
    dtype: "f32",
  },
  {
    name: "label smoothing",
    logits: [5, 7],
    smoothing: 0.1,
    scale: 0.2,
    range: 2,
    ignored: [],
    dtype: "f32",
  },
  {
    name: "ignored labels",
    logits: [7, 10],
    smoothing: 0.1,
    scale: 0.5,
    range: 2,
    ignored: [0, 4],
    dtype: "f32",
  },
  {
    name: "all labels ignored",
    logits: [2, 3],
    smoothing: 0,
    scale: 1,
    range: 2,
    ignored: [0, 1],
    dtype: "f32",
  },
  {
    name: "fewer than five classes",
    logits: [4, 3],
    smoothing: 0,
    scale: 1,
    range: 2,
    ignored: [],
    dtype: "f32",
  },
  {
    name: "huge logits",
    logits: [5, 11],
    smoothing: 0,
    scale: 1,
    range: 1000,
    ignored: [],
    dtype: "f32",
  },
  {
    name: "a thousand classes",
    logits: [3, 1000],
    smoothing: 0.1,
    scale: 0.001,
    range: 3,
    ignored: [1],
    dtype: "f32",
  },
  {
    name: "bf16 gradient",
    logits: [6, 10],
    smoothing: 0,
    scale: 0.25,
    range: 2,
    ignored: [3],
    dtype: "bf16",
  },
];
