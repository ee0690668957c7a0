// Forecasts a step of k workers from the measured step of one: when each bucket of the gradient is summed, what of
// that the step waits for, and how long its images take to decode.
import { allReduceSeconds, nodesOf, type Topology } from "./algorithms.js";

/** A bucket of the gradient: its all-reduce may begin `ready` seconds after the step's begin. */
export interface Bucket {
  bytes: number;
  ready: number;
}

/** The step of one worker without its all-reduces, in seconds. */
export interface Step {
  /** Forward and back-propagation of one micro-batch. */
  compute: number;
  /** The optimizer, for all buckets together. */
  update: number;
  /** In the order in which they are summed; `ready` is that of the last micro-batch. */
  buckets: readonly Bucket[];
}

export interface ForecastOptions {
  /** Images of a micro-batch. */
  batch: number;
  accumulate: number;
  topology: Topology;
  /** Images that a core decodes in a second, and cores of a node that decode. Without both the input keeps up. */
  imagesPerCore?: number | undefined;
  cores?: number | undefined;
}

/** What takes longest of a step: with that alone, it would not be shorter. */
export type Bound = "compute" | "communication" | "input";

export interface Forecast {
  workers: number;
  nodes: number;
  /** Images of a step, kn. */
  minibatch: number;
  /** Seconds of the step; the following add up to it. */
  seconds: number;
  compute: number;
  update: number;
  exposedCommunication: number;
  inputWait: number;
  /** Seconds of the step's all-reduces one after another, hidden or not. */
  communication: number;
  /** Seconds in which a node decodes the step's images; 0 where its rate is not known. */
  input: number;
  bound: Bound;
  imagesPerSecond: number;
  /** Against one worker that waits for nothing. */
  efficiency: number;
  /** Images that a node with all its workers takes in a second. */
  imagesPerNode: number;
  /** Cores a node needs to decode them; absent where the rate of one is not known. */
  coresPerNode?: number;
}

/** The end of the step's last update, in seconds from its begin: all-reduces in turn, each then updated. */
function endOf(step: Step, summed: (bucket: Bucket) => number): number {
  const bytes = step.buckets.reduce((sum, bucket) => sum + bucket.bytes, 0);
  let communicated = 0;
  let updated = step.compute;
  for (const bucket of step.buckets) {
    communicated = Math.max(communicated, bucket.ready) + summed(bucket);
    const share = bytes === 0 ? 1 / step.buckets.length : bucket.bytes / bytes;
    updated = Math.max(updated, communicated) + step.update * share;
  }
  return step.buckets.length === 0 ? step.compute + step.update : updated;
}

/** The step of `workers` workers. */
export function forecastStep(step: Step, workers: number, options: ForecastOptions): Forecast {
  const { batch, accumulate, topology, imagesPerCore, cores } = options;
  const summed = ({ bytes }: Bucket) => allReduceSeconds(bytes, workers, topology);
  const communication = step.buckets.reduce((sum, bucket) => sum + summed(bucket), 0);
  const before = (accumulate - 1) * step.compute;
  const compute = accumulate * step.compute;
  const alone = compute + step.update;
  const together = before + endOf(step, summed);

  const nodes = nodesOf(workers, topology);
  const onNode = Math.min(workers, topology.workersPerNode);
  const imagesOfNode = onNode * accumulate * batch;
  const input = imagesPerCore && cores ? imagesOfNode / (imagesPerCore * cores) : 0;
  const seconds = Math.max(together, input);
  const imagesPerNode = imagesOfNode / seconds;
  const minibatch = workers * accumulate * batch;
  return {
    workers,
    nodes,
    minibatch,
    seconds,
    compute,
    update: step.update,
    exposedCommunication: together - alone,
    inputWait: seconds - together,
    communication,
    input,
    bound: boundOf({ compute: alone, communication, input }),
    imagesPerSecond: minibatch / seconds,
    efficiency: alone / seconds,
    imagesPerNode,
    ...(imagesPerCore ? { coresPerNode: imagesPerNode / imagesPerCore } : {}),
  };
}

/** The longest; the earlier in the list where two are alike. */
function boundOf(times: Readonly<Record<Bound, number>>): Bound {
  const [longest] = Object.entries(times).reduce((most, next) => (next[1] > most[1] ? next : most));
  return longest as Bound;
}
