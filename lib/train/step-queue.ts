// Queues the steps of a run on a device and reads their results back late.

import type { Loader, Slice } from "../data/loader.js";
import type { Sampler } from "../data/sampler.js";
import type { Executor, Trace } from "../device/device.js";
import type { CompiledModel, StepInput } from "../graph/compile.js";
import { type Scaling, scalingFromFloats } from "../ops/loss-scale.js";
import type { MomentumRule } from "../ops/optimizers/optimizer.js";
import { momentumFactor, type Schedule } from "../schedules/schedule.js";
import type { Squares } from "./noise-scale.js";
import { writeNumbers } from "./step-numbers.js";

const rateWindow = 8; // steps

/** What a step's output slot held. */
export interface StepResult {
  step: number;
  lr: number;
  momentumFactor: number;
  /** Data loss averaged over the kn images of all workers. */
  loss: number;
  /** Fraction of the kn images that were named rightly. */
  top1: number;
  /** Seconds that the device had nothing to do before its programs. */
  idle: number;
  /** Its programs in their order, where it was traced. */
  traces: readonly ProgramTrace[];
  /** Gradient elements that are not finite, per bucket, of the summed gradients. */
  bad: Float32Array;
  /** In fp16, where loss scaling stands after the step. */
  scaling?: Scaling | undefined;
  /** Where the gradient noise scale is measured. */
  squares?: Squares | undefined;
  /** Over the last few steps. */
  imagesPerSecond: number;
}

/** When a program of a step ran. */
export interface ProgramTrace {
  program: string;
  trace: Trace;
}

/** Sums that an output slot of `evaluate` or `last` holds. */
interface Metrics {
  loss: number;
  top1: number;
  top5: number;
  images: number;
}

/** Slots of a device: a slot is free from the end of what was last submitted on it. */
export class Queue {
  private readonly pending: Promise<void>[];
  private readonly free: number[];
  private readonly waiting: ((slot: number) => void)[] = [];
  private inFlight = 0;
  private idleSince: number | undefined;
  /** Milliseconds the device had nothing to do between the first submission and the last. */
  idle = 0;

  constructor(
    readonly executor: Executor,
    private readonly outputs: CompiledModel["output"],
  ) {
    this.pending = new Array<Promise<void>>(executor.slots).fill(Promise.resolve());
    this.free = [...this.pending.keys()];
  }

  /** A slot, once one is free; rejects with the error of an earlier submission. */
  async acquire(): Promise<number> {
    const slot =
      this.free.shift() ?? (await new Promise<number>((resolve) => this.waiting.push(resolve)));
    try {
      await this.pending[slot];
    } catch (error) {
      this.release(slot); // or the next in line would wait for ever
      throw error;
    }
    return slot;
  }

  /** Gives back a slot from `acquire` on which nothing was submitted. */
  release(slot: number): void {
    const next = this.waiting.shift();
    if (next) next(slot);
    else this.free.push(slot);
  }

  /** Submits a program on a slot from `acquire`; `read` sees the output slot when it has ended. */
  submit(program: string, slot: number, read: (slot: number) => void = () => {}): Promise<void> {
    return this.follow(slot, () => this.executor.submit(program, slot), read);
  }

  /** The same, and `read` sees when its lines ran, too. */
  trace(program: string, slot: number, read: (slot: number, trace: Trace) => void): Promise<void> {
    return this.follow(slot, () => this.executor.trace(program, slot), read);
  }

  private follow<T>(
    slot: number,
    run: () => Promise<T>,
    read: (slot: number, result: T) => void,
  ): Promise<void> {
    const now = performance.now();
    if (this.inFlight === 0 && this.idleSince !== undefined) this.idle += now - this.idleSince;
    this.inFlight++;
    const done = run().then((result) => {
      if (--this.inFlight === 0) this.idleSince = performance.now();
      read(slot, result);
    });
    this.pending[slot] = done;
    const release = () => this.release(slot);
    done.then(release, release); // the next to acquire the slot sees the error
    return done;
  }

  /** Waits for everything submitted; time until the next submission does not count as idle. */
  async drain(): Promise<void> {
    await Promise.all(this.pending);
    this.idleSince = undefined;
  }

  metrics(slot: number): Metrics {
    const [loss, top1, top5, images] = this.floats(slot, this.outputs.metrics);
    return { loss: loss!, top1: top1!, top5: top5!, images: images! };
  }

  finite(slot: number): Float32Array {
    return this.floats(slot, this.outputs.finite).slice();
  }

  /** Undefined where the loss is not scaled. */
  scaling(slot: number): Scaling | undefined {
    const values = this.floats(slot, this.outputs.scaling);
    return values.length > 0 ? scalingFromFloats(values) : undefined;
  }

  /**
   * Sums of squares of the gradients of smaller batches, Σ‖g‖², and of the minibatch's, as they are multiplied by
   * the loss scale; undefined where they are not taken.
   */
  squares(slot: number): (Squares & { scale: number }) | undefined {
    const { noise } = this.outputs;
    if (!noise) return undefined;
    const sum = (rows: Slice) =>
      this.floats(slot, rows).reduce((total, value, i) => total + (i % 3 === 1 ? value : 0), 0);
    const [scale = 1] = this.floats(slot, noise.scale);
    return { small: sum(noise.small), large: sum(noise.large), scale };
  }

  private floats(slot: number, slice: { offset: number; bytes: number }): Float32Array {
    const output = this.executor.output(slot);
    return new Float32Array(output.buffer, output.byteOffset + slice.offset, slice.bytes / 4);
  }
}

/**
 * The rate of the last few steps. Results are read when JavaScript has its turn, several at once
 * after a pause, so that the time between two of them means nothing.
 */
export class Rate {
  private ends: number[] = []; // ms, the beginning and then the steps' ends

  constructor(private readonly window: number) {}

  /** Begins anew at `now`, unless steps are being counted already. */
  begin(now: number): void {
    if (this.ends.length === 0) this.ends.push(now);
  }

  /** Steps a second over the last `window` steps, with the one that ends at `now`. */
  step(now: number): number {
    this.begin(now);
    this.ends.push(now);
    if (this.ends.length > this.window + 1) this.ends.shift();
    return (1000 * (this.ends.length - 1)) / (now - this.ends[0]!);
  }

  /** Forgets all steps, at a pause that does not count. */
  pause(): void {
    this.ends = [];
  }
}

interface StepQueueOptions extends Pick<MomentumRule, "momentumForm" | "momentumCorrection"> {
  queue: Queue;
  loader: Loader;
  sampler: Sampler;
  schedule: Schedule;
  /** Where the numbers of a step go in an input slot. */
  input: StepInput;
  /** The share of a step's weights in their moving average; undefined where there is none. */
  emaRate?: ((step: number) => number) | undefined;
  rank: number;
  accumulate: number;
  /** Steps of the run in all, beyond which nothing is filled. */
  steps: number;
  /** Batches that are being filled besides those that are queued; fewer than the slots. */
  ahead: number;
  /** η of the step before the first to be queued; undefined at the run's start. */
  lastLearningRate: number | undefined;
  /** Called in the order of the steps, some steps after they were queued. */
  onStep: (result: StepResult) => void;
  /** Whether to trace a step's programs; no step by default. */
  isTraced?: (step: number) => boolean;
  /** Called with what this process did for a step, from `begin` to now in ms of `performance.now`. */
  note?: (row: HostRow, step: number, name: string, begin: number) => void;
}

/** What a process does for its device: it fills slots, several at once, and queues steps. */
export type HostRow = "input" | "host";

/**
 * Whether anything in a step's result is NaN or infinite. A scaled loss may overflow in back-propagation:
 * that step was skipped, and is broken only where a scale of 1 or less was too large.
 */
export function isBroken({
  loss,
  bad,
  scaling,
}: Pick<StepResult, "loss" | "bad" | "scaling">): boolean {
  const isBad = bad.some((count) => count !== 0);
  return !Number.isFinite(loss) || (isBad && (!scaling || scaling.lossScale < 1));
}

/** Queues steps; never more than the slots hold. The batches of the next are filled meanwhile. */
export class StepQueue {
  private readonly results = new Map<number, Promise<void>>();
  private broken: StepResult | undefined;
  private readonly rate = new Rate(rateWindow);
  /** Steps after which a step's result is certainly known: the same number on every rank. */
  readonly lag: number;
  /** Slots that are being filled, in the order of the micro-batches to be queued next. */
  private readonly filling: Promise<number>[] = [];
  /** Micro-batches of the run that have been filled or are being so. */
  private begun = -1;
  /** Where the noise scale is measured on one worker, Σg² of the first micro-batch of the step that is being read. */
  private first: number | undefined;
  /** The traces of the step that is being read. */
  private traces: ProgramTrace[] = [];
  /** Milliseconds that the device had been idle when the step before was read, or after a pause. */
  private idle: number | undefined;
  /** η of the last step that was queued. */
  lastLearningRate: number | undefined;

  constructor(private readonly options: StepQueueOptions) {
    const slots = options.queue.executor.slots;
    this.lag = Math.ceil((slots + options.accumulate - 1) / options.accumulate);
    this.lastLearningRate = options.lastLearningRate;
  }

  /**
   * Queues step `step`, waiting for slots as needed. Returns the result of an earlier step that
   * was not finite, instead of queueing: at the same step on every rank.
   */
  async queueStep(step: number): Promise<StepResult | undefined> {
    const { queue, sampler, schedule, accumulate, isTraced = () => false, note } = this.options;
    const { input, emaRate } = this.options;
    let since = performance.now();
    const noted = (name: string) => {
      note?.("host", step, name, since);
      since = performance.now();
    };
    await this.results.get(step - this.lag);
    if (this.results.has(step - this.lag)) noted(`wait for step ${step - this.lag}`);
    this.results.delete(step - this.lag);
    if (this.broken && this.broken.step <= step - this.lag) return this.broken;

    this.rate.begin(performance.now());
    this.idle ??= queue.idle;
    const traces = isTraced(step);
    const lr = schedule(step);
    const factor = momentumFactor(this.options, lr, this.lastLearningRate);
    const numbers = { lr, momentumFactor: factor, emaRate: emaRate?.(step) };
    if (this.begun < 0) this.begun = step * accumulate;
    for (let micro = 0; micro < accumulate; micro++) {
      this.fillUpTo(step * accumulate + micro + 1);
      const slot = await this.filling.shift()!;
      noted(`wait for input of step ${step}`);
      writeNumbers(queue.executor.input(slot), input, numbers);
      const isLast = micro === accumulate - 1;
      const program = isLast ? "last" : "micro";
      const read = (ended: number, trace?: Trace) => {
        if (trace) this.traces.push({ program, trace });
        if (micro === 0 && sampler.workers === 1) this.first = queue.squares(ended)?.small;
        if (isLast) this.read(ended, step, lr, factor);
      };
      const done = traces ? queue.trace(program, slot, read) : queue.submit(program, slot, read);
      noted(`queue step ${step}`);
      if (isLast) {
        done.catch(() => {}); // it is seen where the result is awaited
        this.results.set(step, done);
      }
      this.fillUpTo(step * accumulate + micro + 1 + this.options.ahead);
    }
    this.lastLearningRate = lr;
    return undefined;
  }

  /** Begins to fill the batches before micro-batch `end` of the run. */
  private fillUpTo(end: number): void {
    const { accumulate, steps } = this.options;
    for (; this.begun < Math.min(end, steps * accumulate); this.begun++) {
      const step = Math.floor(this.begun / accumulate);
      const slot = this.fill(step, this.begun % accumulate);
      slot.catch(() => {}); // it is seen when the step is queued
      this.filling.push(slot);
    }
  }

  private async fill(step: number, micro: number): Promise<number> {
    const { queue, loader, sampler, rank } = this.options;
    const indices = sampler.group(step, rank, micro);
    const slot = await queue.acquire();
    const begin = performance.now();
    try {
      await loader.fillTraining(
        queue.executor.input(slot),
        indices,
        Math.floor(step / sampler.stepsPerEpoch),
      );
      this.options.note?.("input", step, `fill slot ${slot} for step ${step}`, begin);
      return slot;
    } catch (error) {
      queue.release(slot);
      throw error;
    }
  }

  /** Waits for all steps that are queued; returns the first result that was not finite. */
  async drain(): Promise<StepResult | undefined> {
    await this.options.queue.drain();
    this.results.clear();
    this.rate.pause();
    this.idle = undefined;
    return this.broken;
  }

  /** Gives back the slots that were filled for steps which will not be queued. */
  async discard(): Promise<void> {
    for (const slot of this.filling.splice(0)) {
      await slot.then(
        (filled) => this.options.queue.release(filled),
        () => {},
      );
    }
    this.begun = -1;
  }

  /**
   * Squared norms of a step's mean gradients. Gradients are sums over images divided by those of the whole step:
   * a part's mean is k or, of a micro-batch, a times as much, and the mean over k workers takes k away once.
   */
  private squares(slot: number): Squares | undefined {
    const { queue, accumulate, sampler } = this.options;
    const taken = queue.squares(slot);
    if (!taken) return undefined;
    const { small, large, scale } = taken;
    const parts = this.first === undefined ? sampler.workers * small : accumulate ** 2 * this.first;
    return { small: parts / scale ** 2, large: large / scale ** 2 };
  }

  private read(slot: number, step: number, lr: number, factor: number): void {
    const { queue, sampler, onStep } = this.options;
    const { loss, top1, images } = queue.metrics(slot);
    const { traces } = this;
    this.traces = [];
    const idle = (queue.idle - (this.idle ?? queue.idle)) / 1000;
    this.idle = queue.idle;
    const result = {
      step,
      lr,
      momentumFactor: factor,
      loss,
      top1: top1 / images,
      idle,
      traces,
      bad: queue.finite(slot),
      scaling: queue.scaling(slot),
      squares: this.squares(slot),
      imagesPerSecond: sampler.minibatch * this.rate.step(performance.now()),
    };
    if (!this.broken) {
      if (isBroken(result)) this.broken = result;
      onStep(result);
    }
  }
}
