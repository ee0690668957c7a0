// Softmax cross-entropy with label smoothing, top-1 and top-5 counts, and its gradient.
import type { Value } from "../graph/graph.js";
import { defineOp } from "../graph/graph.js";
import { type CaseRow, defineCases } from "./cases.js";
import { cast } from "./elementwise.js";

const softmaxCrossEntropyBackward = defineOp<"dlogits">({
  name: "softmax-cross-entropy-backward",
  signature: "probabilities:f32[N,K] labels:i32[N] dloss?:f32[1] -> dlogits:T[N,K]",
});

const softmaxCrossEntropyOp = defineOp<"metrics" | "probabilities">({
  name: "softmax-cross-entropy",
  signature:
    "logits:f32[N,K] labels:i32[N] metrics?:f32[4] -> metrics:f32[4] probabilities:f32[N,K]",
  // The gradient of metrics[0], the loss, which starts back-propagation: in d that of the loss alone.
  gradient: ({ inputs, outputs, attributes }, { metrics: dloss }) => {
    const { logits, labels } = inputs as { logits: Value; labels: Value };
    const from = { probabilities: outputs.probabilities, labels, dloss };
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

function row(
  name: string,
  logits: readonly number[],
  options: Partial<Omit<LossRow, "name" | "logits">> = {},
): LossRow {
  const { smoothing = 0, scale = 1, range = 2, ignored = [], dtype = "f32" } = options;
  return { name, logits, smoothing, scale, range, ignored, dtype };
}

/** Cases of softmax cross-entropy, which starts back-propagation itself: its gradient is an output. */
defineCases<LossRow>({
  family: "loss",
  rows: [
    row("plain", [6, 10], { scale: 0.015625 }),
    row("label smoothing", [5, 7], { smoothing: 0.1, scale: 0.2 }),
    row("ignored labels", [7, 10], { smoothing: 0.1, scale: 0.5, ignored: [0, 4] }),
    row("all labels ignored", [2, 3], { ignored: [0, 1] }),
    row("fewer than five classes", [4, 3]),
    row("huge logits", [5, 11], { range: 1000 }),
    row("a thousand classes", [3, 1000], { smoothing: 0.1, scale: 0.001, range: 3, ignored: [1] }),
    row("bf16 gradient", [6, 10], { scale: 0.25, ignored: [3], dtype: "bf16" }),
    row("f16 gradient", [6, 10], { scale: 0.25, ignored: [3], dtype: "f16" }),
  ],
  sizes: [
    row("one image, 3 classes", [1, 3]),
    row("9 images, 1000 classes", [9, 1000], { smoothing: 0.1, scale: 1 / 9 }),
  ],
  large: [row("a minibatch's classes", [257, 1000], { scale: 1 / 257 })],
  inputs: ({ logits, range }) => ({
    logits: { shape: logits, f32: true, deviation: range / Math.sqrt(3) },
    labels: { shape: [logits[0]!], classes: logits[1]! },
  }),
  build: (inputs, { smoothing, scale, dtype }) => {
    const { logits, labels } = inputs as { logits: Value; labels: Value };
    const { metrics, probabilities } = softmaxCrossEntropy(logits, labels, { smoothing, scale });
    const { dlogits } = logits.graph.apply(
      softmaxCrossEntropyBackward,
      { probabilities, labels },
      { smoothing, scale },
      { types: { T: dtype } },
    );
    return { metrics, probabilities, dlogits };
  },
  elementwise: ["metrics"],
  // exp and log of f32, and logits up to 1000 whose ulp is 6e-5; one rounding of a gradient in
  // bf16 and f16.
  tolerance: ({ dtype }, output) =>
    output === "dlogits" ? { bf16: 2 ** -8, f16: 2 ** -11, f32: 1e-5 }[dtype] : 1e-5,
});
