// The lines of log.jsonl: what each kind holds, and whether a text is such a line.

import { z } from "zod";

/** One line of log.jsonl. */
export type LogLine =
  | {
      type: "step";
      step: number;
      epoch: number;
      /** Data loss averaged over the step's kn images. */
      loss: number;
      lr: number;
      momentumFactor: number;
      imagesPerSecond: number;
      /** In fp16: the scale of the next step's loss, good steps since it changed, steps skipped so far. */
      lossScale?: number;
      goodSteps?: number;
      skipped?: number;
      /** The gradient noise scale so far, in images; absent while noise hides the gradient or there is none. */
      noiseScale?: number;
      /** Fraction of the kn images that were named rightly, before the update. */
      top1?: number;
      /** Seconds in which rank 0's device had no input. */
      inputWait?: number;
      /** Of a step that was traced, seconds of rank 0: forward and backward pass. */
      compute?: number;
      /** What the stream that computes waited for communication. */
      exposedCommunication?: number;
      /** Norms of the gradients and the optimizer. */
      update?: number;
    }
  | {
      type: "epoch";
      epoch: number;
      trainLoss: number;
      /** Mean of its steps' top1. */
      trainTop1?: number;
      /** Fractions of the whole test set. */
      top1: number;
      top5: number;
      testLoss: number;
      /** Of the moving average of the weights, where the run keeps one. */
      emaTop1?: number;
      emaTestLoss?: number;
      testImages: number;
      /** Share of its steps' time in which a device waited for input, on the rank that waited longest. */
      inputWait: number;
      seconds: number;
    }
  | {
      /** What went wrong while the run went on. */
      type: "warning";
      /** Steps done. */
      step: number;
      text: string;
    }
  | {
      /** A start of all workers after a failure. */
      type: "restart";
      /** Steps done, from which it continues. */
      step: number;
      /** Starts after failures so far, of one command. */
      count: number;
      cause: string;
      workers: number;
      /** The nodes that take part, and those that are here and do not. */
      nodes: number[];
      standBy: number[];
    }
  | {
      type: "end";
      status: "finished" | "interrupted" | "failed";
      /** Steps done. */
      steps: number;
      seconds: number;
      top1?: number;
      emaTop1?: number;
      /** Median over the last five epochs, in %. */
      medianTop1Error?: number;
      /** Of a run that failed: the error's message, and its code where it has one. */
      reason?: string;
      code?: string;
    };

/** A line of one kind. */
export type Line<T extends LogLine["type"]> = Extract<LogLine, { type: T }>;

const count = z.int().min(0);
/** JSON has no NaN and infinity, which it writes as null. */
const measure = z.number().nullable();

const step = z.looseObject({
  type: z.literal("step"),
  step: count,
  epoch: count,
  /** Data loss averaged over the step's kn images. */
  loss: measure,
  lr: measure,
  momentumFactor: measure,
  imagesPerSecond: measure,
  // Earlier versions had none of these.
  top1: measure.optional(),
  inputWait: measure.optional(),
  noiseScale: measure.optional(),
  compute: measure.optional(),
  exposedCommunication: measure.optional(),
  update: measure.optional(),
});

const epoch = z.looseObject({
  type: z.literal("epoch"),
  epoch: count,
  trainLoss: measure,
  trainTop1: measure.optional(),
  /** Fractions of the whole test set. */
  top1: z.number(),
  top5: z.number(),
  testLoss: measure,
  emaTop1: z.number().optional(),
  emaTestLoss: measure.optional(),
  testImages: count,
  /** Share of its steps' time in which a device waited for input, on the rank that waited longest. */
  inputWait: measure,
  seconds: measure,
});

const warning = z.looseObject({ type: z.literal("warning"), step: count, text: z.string() });

const restart = z.looseObject({
  type: z.literal("restart"),
  step: count,
  count,
  cause: z.string(),
});

const end = z.looseObject({
  type: z.literal("end"),
  status: z.enum(["finished", "interrupted", "failed"]),
  steps: count,
});

const readable = z.discriminatedUnion("type", [step, epoch, warning, restart, end]);

/** Whether a value read from a log is one of its lines; they may hold more than is asked for. */
export function isLogLine(value: unknown): boolean {
  return readable.safeParse(value).success;
}
