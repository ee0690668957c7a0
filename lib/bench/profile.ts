// What a training step is made of, as `onehour bench throughput --profile` measures it and
// `onehour plan` reads it.
import { z } from "zod";
import { precisions } from "../graph/compiled.js";

/** No step takes a day. */
const seconds = z.number().nonnegative().max(86_400);
const positive = z.number().positive();
const whole = z.int().positive();

/** Times in seconds, sizes in bytes and pixels, rates in images a second. */
export const profileSchema = z.object({
  type: z.literal("onehour-profile"),
  /** A name, or a module's title. */
  model: z.string(),
  images: z.object({ height: whole, width: whole, channels: whole }),
  /** n: images of a worker's step. */
  batch: whole,
  precision: z.enum(precisions),
  device: z.object({ kind: z.enum(["cpu", "cuda"]), name: z.string() }),
  /** CPU threads of a worker. */
  threads: whole,
  /** The step of one worker with its collectives left out; `compute` is all of it but the update. */
  compute: seconds.positive(),
  update: seconds,
  /**
   * What is all-reduced, in the order of the program. `ready`: when its last gradient is there, from the
   * begin of the step.
   */
  buckets: z.array(z.object({ bytes: whole, ready: seconds })),
  /** Images a second that one core decodes and crops to the model's size; absent where not measured. */
  imagesPerCore: positive.optional(),
  /** The step as it was measured with so many workers on this machine, in the order of their number. */
  measured: z.array(
    z.object({ workers: whole, step: seconds.positive(), exposedCommunication: seconds }),
  ),
  /** What of all this nobody measured, in sentences. */
  assumed: z.array(z.string()).optional(),
  /** Versions, processor, GPUs. */
  environment: z.record(z.string(), z.unknown()).optional(),
});

export type Profile = z.infer<typeof profileSchema>;
