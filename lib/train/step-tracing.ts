// Which steps of a run are traced, and what becomes of that: the split of a step's time in the log, and `trace.json`.

import type { CompiledModel } from "../graph/compile.js";
import { thisHost } from "../ranks/rendezvous.js";
import type { World } from "../ranks/world.js";
import { nameOf } from "../recipe/voice.js";
import { joined, writeAtomically } from "../run-folder/files.js";
import { traceName } from "../run-folder/run-folder.js";
import { printable, warning } from "../text/words.js";
import { ChromeTrace, type HostSpan, type ProgramSpan, type RankTrace } from "./chrome-trace.js";
import type { HostRow, StepResult } from "./step-queue.js";
import { type LineKind, lineKinds, splitOf } from "./step-split.js";

/** Steps of a process before those that `trace` asks for: caches and the queue have filled by then. */
const warmUp = 5;
/** On a GPU one step in so many is traced, since it replays no graph then. */
const sampledOnGpu = 100;
/** On the CPU one in so many: tracing all of them took up to 1.4 % more time of the processor where steps are shortest. */
const sampledOnCpu = 2;

interface TracingOptions {
  world: World;
  compiled: Pick<CompiledModel, "programs">;
  kind: "cpu" | "cuda";
  /** Steps that the recipe asks to trace. */
  steps: number | undefined;
  /** Steps of the run in all. */
  total: number;
  out: string;
  /** Shows a message to the user, on rank 0 only. */
  say: (text: string) => void;
}

const micro = (seconds: number) => Number(seconds.toFixed(6));

export class StepTracing {
  private readonly kinds: ReadonlyMap<string, readonly LineKind[]>;
  /** The steps for `trace.json`: the first, and the one after the last. */
  private window = { begin: 0, end: 0 };
  private isWritten = true;
  private readonly programs: ProgramSpan[] = [];
  private readonly spans: HostSpan[] = [];

  constructor(private readonly options: TracingOptions) {
    const { programs } = options.compiled;
    this.kinds = new Map(programs.map(({ name, text }) => [name, lineKinds(text)]));
  }

  /** Says with which step this process begins. */
  begin(step: number): void {
    const { steps = 0, total } = this.options;
    const begin = step + Math.min(warmUp, Math.max(0, total - step - steps));
    this.window = { begin, end: Math.min(begin + steps, total) };
    this.isWritten = steps === 0 || begin >= total;
  }

  private isInWindow(step: number): boolean {
    return !this.isWritten && step >= this.window.begin && step < this.window.end;
  }

  /** Whether a step is traced: on a GPU the same steps on all ranks, since all replay graphs or none. */
  readonly isTraced = (step: number): boolean => {
    if (this.isInWindow(step)) return true;
    const { kind, world } = this.options;
    if (kind === "cuda") return step % sampledOnGpu === warmUp;
    return world.rank === 0 && step % sampledOnCpu === 0;
  };

  /** Notes what this process did for a step. */
  readonly note = (row: HostRow, step: number, name: string, begin: number): void => {
    if (this.isInWindow(step)) this.spans.push({ row, name, begin, end: performance.now() });
  };

  /** Takes a step's traces. */
  finishStep({ step, traces }: StepResult): void {
    if (!this.isInWindow(step)) return;
    // From the clock of `process.hrtime` to that of `performance.now`.
    const shift = performance.now() - Number(process.hrtime.bigint()) / 1e6;
    for (const { program, trace } of traces) {
      this.programs.push({ step, program, began: trace.began + shift, times: [...trace.times] });
    }
  }

  /** What the log says of a step's time, in seconds. */
  split({ idle, traces }: StepResult) {
    if (traces.length === 0) return { inputWait: micro(idle) };
    const programs = traces.map(({ program, trace }) => ({
      kinds: this.kinds.get(program)!,
      trace,
    }));
    const { compute, exposedCommunication, inputWait, update } = splitOf(programs, idle);
    return {
      compute: micro(compute),
      exposedCommunication: micro(exposedCommunication),
      inputWait: micro(inputWait),
      update: micro(update),
    };
  }

  /**
   * Writes `trace.json`, once, when its steps are among the `done` whose results all ranks have read, or when the
   * run `ends` before. Every rank calls this after the same steps.
   */
  async write(done: number, ends = false): Promise<void> {
    const { world, say, out, compiled } = this.options;
    const { begin } = this.window;
    if (this.isWritten || (done < this.window.end && !ends)) return;
    this.isWritten = true;
    const steps = Math.min(done, this.window.end) - begin;
    if (steps <= 0) return;
    const parts = await world.collect("trace", this.noted());
    if (world.rank !== 0) return;
    const range = steps === 1 ? `step ${begin}` : `steps ${begin} to ${begin + steps - 1}`; // as in the log
    try {
      const events = new ChromeTrace(compiled.programs).format(parts.map(parseTrace));
      await writeAtomically(out, traceName, joined(events));
      say(
        `trace of ${range}: ${printable(`${out}/${traceName}`)}; open it in https://ui.perfetto.dev`,
      );
    } catch (error) {
      say(warning(`${traceName} could not be written (${(error as Error).message})`));
    }
  }

  /** What this rank noted, as `parseTrace` takes it. It never throws, since the other ranks wait for it. */
  private noted(): Uint8Array {
    const own: RankTrace = {
      host: thisHost(),
      origin: performance.timeOrigin,
      programs: this.programs.splice(0),
      spans: this.spans.splice(0),
    };
    try {
      return Buffer.from(JSON.stringify(own));
    } catch {
      return new Uint8Array(); // longer than a string can be
    }
  }
}

function parseTrace(noted: Uint8Array, rank: number): RankTrace {
  if (noted.length === 0)
    throw new Error(`rank ${rank} noted more than fits; lower ${nameOf("trace")}`);
  return JSON.parse(Buffer.from(noted).toString());
}
